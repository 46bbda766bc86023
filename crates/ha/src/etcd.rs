//! A store in etcd: keys below a prefix, through etcd's JSON gateway.
//!
//! Put-if-absent is a transaction: if the key has no revision at which it was created, it is put. Reads are linearizable,
//! etcd's default: what was written before them shows, whichever member is asked.
//!
//! (Why the gateway: every etcd of version 3.4 or newer has it, and the HTTP client for it is among the dependencies
//! anyway. The crates that speak etcd's gRPC are built with protoc.)

mod gateway;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use highwater_core::{Error, Result as OpenResult};
use highwater_storage::{Error as StorageError, Outcome, Result, What};
use serde_json::{Value, json};

use crate::store::{HaStore, Put};
use gateway::{Effect, Failed, Gateway};

const FORM: &str = "give etcd://host:port[,host:port..]/prefix";

/// Keys below a prefix in etcd.
#[derive(Debug)]
pub struct EtcdStore {
    gateway: Gateway,
    endpoints: Vec<String>,
    /// Without slashes at its ends.
    prefix: String,
}

impl EtcdStore {
    /// What the part of a URI behind `etcd://` stands for. Each request ends after `patience`.
    ///
    /// # Errors
    /// [`Settings`](highwater_core::ErrorKind::Settings) if it is not understood,
    /// [`Storage`](highwater_core::ErrorKind::Storage) if no etcd answers there.
    pub fn open(rest: &str, patience: Duration) -> OpenResult<Self> {
        let (endpoints, prefix) = parse(rest)?;
        let store = EtcdStore { gateway: Gateway::new(&endpoints, patience)?, endpoints, prefix };
        store.range("reach", "", json!({"key": encode(store.prefix.as_bytes()), "count_only": true}))?;
        Ok(store)
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    fn range(&self, operation: &'static str, name: &str, request: Value) -> Result<Vec<Value>> {
        let mut answer =
            self.gateway.ask(Effect::Reads, "/v3/kv/range", &request).map_err(self.failed(operation, name))?;
        // What is empty is left out.
        match answer["kvs"].take() {
            Value::Null => Ok(Vec::new()),
            Value::Array(found) => Ok(found),
            other => Err(self.strange(operation, name, &other).with_outcome(Outcome::DidNotHappen)),
        }
    }

    /// The error of a request to the gateway that was made in order to `operation` the name.
    fn failed(&self, operation: &'static str, name: &str) -> impl FnOnce(Failed) -> StorageError {
        let place = self.place(name);
        move |failed| StorageError::new(failed.what, failed.outcome, operation, place).with_detail(failed.why)
    }

    fn strange(&self, operation: &'static str, name: &str, answer: &Value) -> StorageError {
        StorageError::new(What::Other, Outcome::MayHaveHappened, operation, self.place(name))
            .with_detail(format!("etcd answers what nobody asked for: {answer}"))
    }

    fn place(&self, name: &str) -> String {
        if name.is_empty() { self.uri() } else { format!("{}/{name}", self.uri()) }
    }
}

impl HaStore for EtcdStore {
    fn uri(&self) -> String {
        format!("etcd://{}/{}", self.endpoints.join(","), self.prefix)
    }

    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        let key = encode(self.key(name).as_bytes());
        let transaction = json!({
            "compare": [{"key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}],
            "success": [{"request_put": {"key": key, "value": encode(bytes)}}],
        });
        let answer =
            self.gateway.ask(Effect::Writes, "/v3/kv/txn", &transaction).map_err(self.failed("create", name))?;
        // False is left out, so only an answer with a header is one.
        match (&answer["header"], &answer["succeeded"]) {
            (Value::Object(_), Value::Bool(true)) => Ok(Put::Created),
            (Value::Object(_), Value::Null | Value::Bool(false)) => Ok(Put::Exists),
            _ => Err(self.strange("create", name, &answer)),
        }
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let found = self.range("read", name, json!({"key": encode(self.key(name).as_bytes())}))?;
        let Some(found) = found.first() else { return Ok(None) };
        let value = match &found["value"] {
            Value::Null => Some(Vec::new()),
            value => decode(value),
        };
        value.map(Some).ok_or_else(|| self.strange("read", name, found).with_outcome(Outcome::DidNotHappen))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let first = self.key(&format!("{folder}/"));
        // The first key that does not begin so: '0' is the character after '/'.
        let end = self.key(&format!("{folder}0"));
        let request = json!({"key": encode(first.as_bytes()), "range_end": encode(end.as_bytes()), "keys_only": true});
        let mut names = Vec::new();
        for found in self.range("list", folder, request)? {
            let name = decode(&found["key"])
                .and_then(|key| String::from_utf8(key).ok())
                .and_then(|key| key.strip_prefix(&first).map(str::to_owned));
            let strange = || self.strange("list", folder, &found).with_outcome(Outcome::DidNotHappen);
            names.push(name.ok_or_else(strange)?);
        }
        names.retain(|name| !name.contains('/'));
        Ok(names)
    }

    fn remove(&self, name: &str) -> Result<()> {
        let request = json!({"key": encode(self.key(name).as_bytes())});
        self.gateway.ask(Effect::Writes, "/v3/kv/deleterange", &request).map(drop).map_err(self.failed("remove", name))
    }
}

/// Endpoints and prefix.
fn parse(rest: &str) -> OpenResult<(Vec<String>, String)> {
    let unusable = |why: &str| {
        // What is before an @ may be a password.
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        Error::settings(format!("etcd://{place} is not usable: {why}; {FORM}"))
    };
    let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/');
    if rest.contains('@') {
        return Err(unusable("credentials have no place in a URI, and etcd with authentication is not supported"));
    }
    if rest.contains('?') {
        return Err(unusable("it takes no options"));
    }
    if prefix.is_empty() {
        return Err(unusable("it names no prefix"));
    }
    let endpoint = |host: &str| {
        let (name, port) = host.rsplit_once(':')?;
        let fits = !name.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
        fits.then(|| host.to_owned())
    };
    let endpoints = hosts.split(',').map(endpoint).collect::<Option<Vec<_>>>();
    Ok((endpoints.ok_or_else(|| unusable("each endpoint needs a host and a port"))?, prefix.to_owned()))
}

fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

fn decode(value: &Value) -> Option<Vec<u8>> {
    BASE64.decode(value.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_and_prefix_are_understood() {
        let (endpoints, prefix) = parse("a:2379,10.0.0.2:2379,[::1]:2379/highwater/ha/").unwrap();
        assert_eq!(endpoints, ["a:2379", "10.0.0.2:2379", "[::1]:2379"]);
        assert_eq!(prefix, "highwater/ha");
    }

    #[test]
    fn what_is_not_understood_is_refused_with_the_form() {
        for bad in ["", "a:2379", "a:2379/", "a/p", ":2379/p", "a:x/p", "a:0/p", "a:2379,/p", "a:2379/p?x=1"] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(FORM), "{bad}: {error}");
        }
        let error = parse("me:secret@a:2379/p").unwrap_err().to_string();
        assert!(error.contains("authentication") && !error.contains("secret"), "{error}");
    }
}
