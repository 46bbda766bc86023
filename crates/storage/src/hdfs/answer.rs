//! What an error of the HDFS client means: what stood in the way, whether it may have happened, whether to try again.
//!
//! A NameNode answers with the class of a Java exception. Those by which it refuses before it acts are known by name;
//! any other leaves in doubt what it did. Of a lost connection only one that was never made is certain.

use std::io;

use hdfs_native::HdfsError;

use crate::error::What;
use crate::remote::Failed;

/// The meaning of `error`.
pub(super) fn failed(error: HdfsError) -> Failed {
    match error {
        HdfsError::AlreadyExists(said) => Failed::new(What::AlreadyExists, first_line(&said)),
        HdfsError::FileNotFound(said) => Failed::new(What::NotFound, first_line(&said)),
        HdfsError::IsADirectoryError(_) => Failed::plain(What::Other).with_detail("it is a folder"),
        HdfsError::RPCError(class, said) => refused(&class, &said),
        HdfsError::IOError(source) => lost(source),
        error @ HdfsError::BlocksNotFound(_) => missing(error.to_string()),
        HdfsError::DataTransferError(said) => missing(said),
        error @ HdfsError::ChecksumError => missing(error.to_string()),
        error @ HdfsError::OperationFailed(_) => Failed::new(What::Other, error.to_string()).in_doubt().again(),
        error @ HdfsError::InvalidRPCResponse(_) => garbled(error.to_string()),
        HdfsError::FatalRPCError(class, said) => fatal(&class, &said),
        error @ (HdfsError::SASLError(_) | HdfsError::GSSAPIError(..) | HdfsError::NoSASLMechanism) => {
            credentials(error)
        }
        error @ HdfsError::UnsupportedFeature(_) => Failed::new(What::Other, error.to_string()),
        error @ (HdfsError::InvalidPath(_) | HdfsError::InvalidArgument(_) | HdfsError::UrlParseError(_)) => {
            Failed::new(What::Other, error.to_string())
        }
        error @ HdfsError::XmlParseError(_) => Failed::new(What::Other, error.to_string())
            .with_detail("correct core-site.xml and hdfs-site.xml below HADOOP_CONF_DIR"),
        error @ (HdfsError::TrashNotEnabled
        | HdfsError::UnsupportedErasureCodingPolicy(_)
        | HdfsError::ErasureCodingError(_)
        | HdfsError::InternalError(_)) => Failed::new(What::Other, error.to_string()).in_doubt(),
    }
}

/// A NameNode that is not there, as opposed to one that does not answer.
fn lost(source: io::Error) -> Failed {
    let never_reached = matches!(
        source.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::NotConnected
    );
    let unknown_host = source.to_string().contains("lookup address");
    let failed = Failed::new(What::Other, source).again();
    if unknown_host {
        failed.with_detail("the host's name is not known here: correct it, or name a host by its address")
    } else if never_reached {
        failed.with_detail("nothing answers there: start HDFS, or correct host and port (that of the NameNode's RPC)")
    } else {
        failed.in_doubt().with_detail("the connection broke: see that HDFS runs and the network is well")
    }
}

fn missing(said: String) -> Failed {
    Failed::new(What::Other, first_line(&said))
        .in_doubt()
        .again()
        .with_detail("no DataNode gives or takes the block: see with `hdfs dfsadmin -report` that DataNodes run")
}

fn garbled(said: String) -> Failed {
    Failed::new(What::Other, first_line(&said))
        .in_doubt()
        .again()
        .with_detail("the answer is not HDFS's: give host and port of the NameNode's RPC, not of its web pages")
}

fn credentials(error: HdfsError) -> Failed {
    Failed::new(What::Denied, first_line(&error.to_string()))
        .with_detail("the credentials were refused: run `kinit`, or see core-site.xml below HADOOP_CONF_DIR")
}

fn fatal(class: &str, said: &str) -> Failed {
    match simple(class) {
        "AccessControlException" | "AuthorizationException" | "SaslException" | "GSSException" | "InvalidToken" => {
            credentials(HdfsError::FatalRPCError(class.to_owned(), said.to_owned()))
        }
        "StandbyException" | "RetriableException" => refused(class, said),
        _ => garbled(source(class, said)),
    }
}

fn refused(class: &str, said: &str) -> Failed {
    let failed = |what| Failed::new(what, source(class, said));
    match simple(class) {
        "FileNotFoundException" => failed(What::NotFound),
        "FileAlreadyExistsException" => failed(What::AlreadyExists),
        "AccessControlException" => {
            failed(What::Denied).with_detail("set HADOOP_USER_NAME or option user to one who may, or change the owner")
        }
        "ParentNotDirectoryException" => {
            failed(What::Other).with_detail("a part of the path is a file, where a folder is needed")
        }
        "QuotaExceededException" | "NSQuotaExceededException" | "DSQuotaExceededException" => failed(What::Full),
        "SafeModeException" => failed(What::Other).again().with_detail(
            "the NameNode is in safe mode: wait until enough blocks are reported, or `hdfs dfsadmin -safemode leave`",
        ),
        "RetriableException" => failed(What::Other).again().with_detail("the NameNode is starting: wait for it"),
        "StandbyException" => failed(What::Other).again().with_detail(
            "this NameNode is a standby: give the name service of the cluster (hdfs://name/path, with HADOOP_CONF_DIR)",
        ),
        "InvalidPathException" | "PathComponentTooLongException" | "MaxDirectoryItemsExceededException" => {
            failed(What::Other)
        }
        // Nothing is known of what it did.
        _ if said.contains("could only be written to 0 of") => missing(said.to_owned()),
        _ => failed(What::Other).in_doubt(),
    }
}

fn source(class: &str, said: &str) -> String {
    format!("{}: {}", simple(class), first_line(said))
}

fn simple(class: &str) -> &str {
    class.rsplit(['.', '$']).next().unwrap_or(class)
}

/// What a NameNode says, without the Java stack trace below it.
fn first_line(said: &str) -> String {
    said.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Outcome};
    use crate::remote::{Course, Effect};

    /// The error of an operation that has no time for a second attempt.
    fn error(error: HdfsError) -> Error {
        let none = std::time::Duration::ZERO;
        let end = Course::new(none, none).after(failed(error), none, 0.0).expect_err("no time left");
        end.into_error("publish", "x", Effect::Writes)
    }

    fn rpc(class: &str) -> HdfsError {
        HdfsError::RPCError(class.to_owned(), "it says so\n\tat java.lang.Thread.run(Thread.java)".to_owned())
    }

    #[test]
    fn only_answers_that_refuse_are_certain() {
        let io = |kind: io::ErrorKind| HdfsError::IOError(kind.into());
        for certain in [
            rpc("org.apache.hadoop.hdfs.server.namenode.SafeModeException"),
            rpc("org.apache.hadoop.ipc.StandbyException"),
            rpc("java.io.FileNotFoundException"),
            io(io::ErrorKind::ConnectionRefused),
        ] {
            assert_eq!(error(certain).outcome(), Outcome::DidNotHappen);
        }
        for open in [
            rpc("java.io.IOException"),
            io(io::ErrorKind::ConnectionReset),
            io(io::ErrorKind::TimedOut),
            HdfsError::DataTransferError("x".into()),
            HdfsError::FatalRPCError("x".into(), "y".into()),
        ] {
            assert_eq!(error(open).outcome(), Outcome::MayHaveHappened);
        }
    }

    #[test]
    fn stack_traces_stay_out_of_messages() {
        let text = format!("{:?}", error(rpc("org.apache.hadoop.security.AccessControlException")));
        assert!(text.ends_with("AccessControlException: it says so"), "{text}");
        assert!(text.contains("HADOOP_USER_NAME"), "{text}");
    }
}
