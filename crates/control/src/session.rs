//! What goes over a session between a JobManager and a TaskManager, once both know each other.

use highwater_core::{Error, Result};

use crate::convert::{malformed, required};
use crate::proto::v1;
use crate::proto::v1::job_manager_message::Message as FromJobManager;
use crate::proto::v1::task_manager_message::Message as FromTaskManager;

/// What a JobManager says.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Something to do in an attempt.
    Attempt {
        /// The token of the attempt.
        attempt: u64,
        /// What.
        order: v1::order::Order,
    },
    /// The job is over.
    End(v1::job_result::Result),
}

/// What a TaskManager says.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A task or worker of an attempt says something.
    Task {
        /// The token of the attempt.
        attempt: u64,
        /// What.
        event: v1::task_event::Event,
    },
    /// Nothing of the attempt runs in this process any more.
    Released {
        /// The token of the attempt.
        attempt: u64,
    },
    /// This process wants to leave the job, and waits for a while that its part of an attempt is ended for that.
    Leaving {},
}

impl From<Order> for v1::JobManagerMessage {
    fn from(order: Order) -> Self {
        let message = match order {
            Order::Attempt { attempt, order } => FromJobManager::Order(v1::Order { attempt, order: Some(order) }),
            Order::End(result) => FromJobManager::End(v1::JobResult { result: Some(result) }),
        };
        v1::JobManagerMessage { message: Some(message) }
    }
}

impl TryFrom<v1::JobManagerMessage> for Order {
    type Error = Error;

    fn try_from(message: v1::JobManagerMessage) -> Result<Self> {
        match required(message.message, "message")? {
            FromJobManager::Order(v1::Order { attempt, order }) => {
                Ok(Order::Attempt { attempt, order: required(order, "order")? })
            }
            FromJobManager::End(v1::JobResult { result }) => Ok(Order::End(required(result, "end.result")?)),
            FromJobManager::Registered(_) => Err(malformed("a second answer to the registration")),
        }
    }
}

impl From<Notice> for v1::TaskManagerMessage {
    fn from(notice: Notice) -> Self {
        let message = match notice {
            Notice::Task { attempt, event } => {
                FromTaskManager::TaskEvent(v1::TaskEvent { attempt, event: Some(event) })
            }
            Notice::Released { attempt } => FromTaskManager::Released(v1::Released { attempt }),
            Notice::Leaving {} => FromTaskManager::Leaving(v1::Leaving {}),
        };
        v1::TaskManagerMessage { message: Some(message) }
    }
}

impl TryFrom<v1::TaskManagerMessage> for Notice {
    type Error = Error;

    fn try_from(message: v1::TaskManagerMessage) -> Result<Self> {
        match required(message.message, "message")? {
            FromTaskManager::TaskEvent(v1::TaskEvent { attempt, event }) => {
                Ok(Notice::Task { attempt, event: required(event, "task_event.event")? })
            }
            FromTaskManager::Released(v1::Released { attempt }) => Ok(Notice::Released { attempt }),
            FromTaskManager::Leaving(v1::Leaving {}) => Ok(Notice::Leaving {}),
            FromTaskManager::Register(_) => Err(malformed("a second registration")),
        }
    }
}
