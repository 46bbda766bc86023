//! Finds the leading JobManager and registers with it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use highwater_core::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{Connected, Keeper, Notices, Orders, QUEUE};
use crate::endpoint::{Addresses, Round, Unanswered, connect};
use crate::network::{Heartbeats, LONGEST_MESSAGE, Network, OPENING};
use crate::proto::v1;
use crate::proto::v1::job_manager_client::JobManagerClient;
use crate::proto::v1::job_manager_message::Message as FromJobManager;
use crate::proto::v1::task_manager_message::Message as FromTaskManager;

/// Between two rounds over all addresses.
const PAUSE: Duration = Duration::from_millis(100);

/// How often it says that it finds nobody.
const REMINDER: Duration = Duration::from_secs(30);

/// A TaskManager's way to the JobManager that leads, over all its sessions.
#[derive(Debug)]
pub struct Connector {
    network: Network,
    addresses: Addresses,
    /// Who led when it was last heard of.
    leader: Option<String>,
    newest_token: u64,
}

/// Why a TaskManager has no session.
#[derive(Debug)]
pub enum NotConnected {
    /// The JobManager will never take it in.
    Refused(Error),
    /// Nobody took it in before it gave up.
    GivenUp(Error),
}

impl Connector {
    /// Over `network`, to the JobManagers at `addresses`.
    pub fn new(network: &Network, addresses: Addresses) -> Self {
        Connector { network: network.clone(), addresses, leader: None, newest_token: 0 }
    }

    /// Registers with the JobManager that leads: tries the addresses, and those that standbys name, until one takes it in, or
    /// `give_up` says so, which is asked after each round. No JobManager that was replaced by one this connector knows counts.
    ///
    /// # Errors
    /// If it is refused, or gives up; what was tried and for how long.
    pub fn connect(
        &mut self,
        register: &v1::Register,
        give_up: &dyn Fn() -> bool,
    ) -> std::result::Result<Connected, NotConnected> {
        let network = self.network.clone();
        network.handle().block_on(self.search(register, give_up))
    }

    async fn search(
        &mut self,
        register: &v1::Register,
        give_up: &dyn Fn() -> bool,
    ) -> std::result::Result<Connected, NotConnected> {
        let began = Instant::now();
        let mut reminded = began;
        loop {
            let mut round = Round::new(&self.addresses, self.leader.as_deref());
            while let Some(address) = round.next() {
                match self.register(&address, register).await {
                    Ok(connected) => return Ok(connected),
                    Err(Unanswered::Answered(status)) if status.code() == Code::FailedPrecondition => {
                        let message =
                            format!("the JobManager at {address} refuses this TaskManager: {}", status.message());
                        return Err(NotConnected::Refused(Error::settings(message)));
                    }
                    Err(why) => round.failed(address, why),
                }
            }
            self.leader = None;
            let searched = began.elapsed();
            if give_up() {
                return Err(NotConnected::GivenUp(round.nobody(&self.addresses, searched)));
            }
            if reminded.elapsed() >= REMINDER {
                tracing::warn!("{}", round.nobody(&self.addresses, searched));
                reminded = Instant::now();
            }
            sleep(PAUSE).await;
        }
    }

    /// Opens a session with the JobManager at `address`.
    async fn register(&mut self, address: &str, register: &v1::Register) -> std::result::Result<Connected, Unanswered> {
        let channel = connect(address).await?;
        let mut client = JobManagerClient::new(channel).max_decoding_message_size(LONGEST_MESSAGE);
        let (queue, queued) = mpsc::channel(QUEUE);
        let message = Some(FromTaskManager::Register(register.clone()));
        queue.try_send(v1::TaskManagerMessage { message }).expect("the queue is empty");
        let opening = timeout(OPENING, async {
            let mut stream = client.session(ReceiverStream::new(queued)).await?.into_inner();
            Ok::<_, Status>((stream.message().await?, stream))
        });
        let silent = |_| Unanswered::Failed(format!("has not answered the registration for {OPENING:?}"));
        let (answer, stream) = opening.await.map_err(silent)??;
        let nonsense = || Unanswered::Failed("does not speak Highwater's protocol".to_owned());
        let Some(FromJobManager::Registered(registered)) = answer.and_then(|answer| answer.message) else {
            return Err(nonsense());
        };
        if registered.leader_token < self.newest_token {
            return Err(Unanswered::Failed("has been replaced by another leader".to_owned()));
        }
        self.newest_token = registered.leader_token;
        self.leader = Some(address.to_owned());
        let heartbeats = Heartbeats {
            interval: Duration::from_nanos(registered.heartbeat_interval_nanos),
            timeout: Duration::from_nanos(registered.heartbeat_timeout_nanos),
        };
        let heartbeats = heartbeats.check().map_err(|_| nonsense())?;
        let task_manager_id = register.task_manager_id.clone();
        let keeper = Keeper { client, task_manager_id, session: registered.session, heartbeats };
        Ok(self.connected(registered, address, keeper, stream, queue))
    }

    fn connected(
        &self,
        registered: v1::Registered,
        address: &str,
        keeper: Keeper,
        stream: Streaming<v1::JobManagerMessage>,
        queue: mpsc::Sender<v1::TaskManagerMessage>,
    ) -> Connected {
        let (orders, received) = mpsc::channel(QUEUE);
        let (ending, over) = watch::channel(false);
        let silent = Arc::<AtomicBool>::default();
        self.network.handle().spawn(keeper.keep(stream, orders, ending, Arc::clone(&silent)));
        let (leader, network) = (address.to_owned(), self.network.clone());
        Connected { registered, leader, orders: Orders { received, silent }, notices: Notices { queue, over, network } }
    }
}
