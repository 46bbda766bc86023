//! The socket source against a server on this machine.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use highwater::connectors::{SocketReader, SocketSource};
use highwater_core::ErrorKind;
use highwater_runtime::source::{Source, SourceOutput, SourceReader, SourceStatus};

fn connected() -> (SocketSource, SocketReader, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = SocketSource::lines(listener.local_addr().unwrap().to_string());
    let reader = source.reader(source.discover(4).unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (source, reader, server)
}

/// Polls until there are `count` lines; then nothing more is at hand or the connection has ended.
fn lines(reader: &mut SocketReader, count: usize) -> Vec<String> {
    let mut output = SourceOutput::default();
    let mut lines = Vec::new();
    while lines.len() < count {
        reader.poll(&mut output).unwrap();
        lines.extend(output.take().into_iter().map(|(line, _)| line));
        std::thread::yield_now();
    }
    lines
}

#[test]
fn lines_arrive_whole_and_the_end_of_the_connection_is_the_end() {
    let (source, mut reader, mut server) = connected();
    assert!(matches!(reader.poll(&mut SourceOutput::default()), Ok(SourceStatus::Idle(_))));
    server.write_all(b"one\ntwo\r\nthr").unwrap();
    assert_eq!(lines(&mut reader, 2), ["one", "two"]);
    server.write_all(b"ee\nlast").unwrap();
    assert_eq!(lines(&mut reader, 1), ["three"]);
    drop(server);
    assert_eq!(lines(&mut reader, 1), ["last"]);
    assert_eq!(reader.poll(&mut SourceOutput::default()).unwrap(), SourceStatus::End);
    // It does not connect again to a server that has said everything.
    let mut restored = source.reader(reader.snapshot()).unwrap();
    assert_eq!(restored.poll(&mut SourceOutput::default()).unwrap(), SourceStatus::End);
}

#[test]
fn a_server_that_is_not_there_is_named_with_the_way_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    for address in [address.as_str(), "no port"] {
        let source = SocketSource::lines(address);
        let error = source.reader(source.discover(1).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains(address) && error.to_string().contains("start the server"), "{error}");
    }
}

#[test]
fn only_one_subtask_connects() {
    let source = SocketSource::lines("127.0.0.1:1");
    assert_eq!(source.discover(8).unwrap().len(), 1);
    assert_eq!(source.reader(vec![]).unwrap().poll(&mut SourceOutput::default()).unwrap(), SourceStatus::End);
}
