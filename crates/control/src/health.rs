//! Whether a process lives, and whether it is of use to its job, as gRPC's standard health service (`grpc.health.v1.Health`) tells it.
//!
//! Of service `liveness`, and of none, it serves as long as it answers at all; of `readiness` while it says that it is ready.

use std::fmt;
use std::net::TcpListener;

use highwater_core::{Error, Result};
use tonic::transport::server::{Router, TcpIncoming};
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use crate::network::Network;

const LIVENESS: &str = "liveness";
const READINESS: &str = "readiness";

/// What a process tells of itself. Clones are the same process.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    network: Network,
}

impl Health {
    /// Of a process that is not ready yet, and the service that tells.
    pub(crate) fn add_to(mut server: tonic::transport::Server, network: &Network) -> (Health, Router) {
        let (reporter, service) = health_reporter();
        let health = Health { reporter, network: network.clone() };
        health.set(LIVENESS, ServingStatus::Serving);
        health.set_ready(false);
        (health, server.add_service(service))
    }

    /// Answers probes that come in on `listener`, and nothing else, as long as the process lives.
    ///
    /// # Errors
    /// If the listener cannot be used.
    pub fn serve(network: &Network, listener: TcpListener) -> Result<Health> {
        let unusable = |error| Error::internal("cannot listen for probes").with_source(error);
        listener.set_nonblocking(true).map_err(unusable)?;
        let (health, router) = Health::add_to(tonic::transport::Server::builder(), network);
        let _entered = network.handle().enter();
        let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).map_err(unusable)?);
        network.handle().spawn(async move {
            if let Err(error) = router.serve_with_incoming(incoming).await {
                tracing::error!(%error, "this process no longer answers probes");
            }
        });
        Ok(health)
    }

    /// Says whether this process is of use to its job. Not to be called on the network's own threads.
    pub fn set_ready(&self, is_ready: bool) {
        self.set(READINESS, if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing });
    }

    fn set(&self, service: &str, status: ServingStatus) {
        self.network.handle().block_on(self.reporter.set_service_status(service, status));
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;

    #[test]
    fn a_probe_hears_of_life_and_of_readiness() {
        let network = Network::start().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let health = Health::serve(&network, listener).unwrap();
        let status = |service: &str| {
            let request = HealthCheckRequest { service: service.to_owned() };
            let address = address.clone();
            network.handle().block_on(async move {
                let channel = tonic::transport::Endpoint::from_shared(address).unwrap().connect().await.unwrap();
                HealthClient::new(channel).check(request).await.map(|answer| answer.into_inner().status)
            })
        };
        let (serving, not_serving) = (1, 2);
        assert_eq!([status("").unwrap(), status(LIVENESS).unwrap()], [serving, serving]);
        assert_eq!(status(READINESS).unwrap(), not_serving);
        health.set_ready(true);
        assert_eq!(status(READINESS).unwrap(), serving);
        assert_eq!(status("else").unwrap_err().code(), tonic::Code::NotFound);
    }
}
