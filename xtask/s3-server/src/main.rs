//! A small S3 server for tests: buckets are folders of a file system, by `s3s-fs`.
//!
//! `s3s-fs` checks the condition of a write (`If-None-Match: *`) and then writes, in two steps, so that two clients can
//! both be told that they created the same object. S3 promises that one is. Here writes wait for each other, which makes
//! the two steps one. It creates a bucket that is missing; here that is an error. And where a folder of the file system is only the beginning of keys, S3 has no object: here too.
//! Everything else is passed through.
//!
//! Usage: `highwater-s3-server <folder> <address>`, with credentials in `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::dto::*;
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// A file system whose writes wait for each other.
#[derive(Debug)]
struct OneWriter {
    files: FileSystem,
    folder: PathBuf,
    writing: Mutex<()>,
}

impl OneWriter {
    fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        if self.folder.join(bucket).is_dir() { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
    }

    fn check_object(&self, bucket: &str, key: &str) -> S3Result<()> {
        if self.folder.join(bucket).join(key).is_dir() { Err(s3_error!(NoSuchKey)) } else { Ok(()) }
    }
}

/// Passes methods on, those of the second list only while no other of them runs, those of the third for objects.
macro_rules! pass_on {
    ({ $($method:ident($input:ident) -> $output:ident,)* }
     { $($write:ident($write_input:ident) -> $write_output:ident,)* }
     { $($read:ident($read_input:ident) -> $read_output:ident,)* }) => {
        #[async_trait::async_trait]
        impl S3 for OneWriter {
            $(async fn $method(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                self.files.$method(request).await
            })*
            $(async fn $write(&self, request: S3Request<$write_input>) -> S3Result<S3Response<$write_output>> {
                self.check_bucket(&request.input.bucket)?;
                let _only = self.writing.lock().await;
                self.files.$write(request).await
            })*
            $(async fn $read(&self, request: S3Request<$read_input>) -> S3Result<S3Response<$read_output>> {
                self.check_object(&request.input.bucket, &request.input.key)?;
                self.files.$read(request).await
            })*
        }
    };
}

pass_on! {
    {
    create_bucket(CreateBucketInput) -> CreateBucketOutput,
    head_bucket(HeadBucketInput) -> HeadBucketOutput,
    list_buckets(ListBucketsInput) -> ListBucketsOutput,
    list_objects(ListObjectsInput) -> ListObjectsOutput,
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output,
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput,
    upload_part(UploadPartInput) -> UploadPartOutput,
    list_parts(ListPartsInput) -> ListPartsOutput,
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput,
    }
    {
    put_object(PutObjectInput) -> PutObjectOutput,
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput,
    delete_object(DeleteObjectInput) -> DeleteObjectOutput,
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput,
    }
    {
        get_object(GetObjectInput) -> GetObjectOutput,
        head_object(HeadObjectInput) -> HeadObjectOutput,
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [folder, address] = args.as_slice() else {
        return Err("usage: highwater-s3-server <folder> <address>".into());
    };
    let (key, secret) = (env::var("AWS_ACCESS_KEY_ID")?, env::var("AWS_SECRET_ACCESS_KEY")?);
    let files = FileSystem::new(folder).map_err(|error| format!("cannot use {folder}: {error:?}"))?;
    let mut service = S3ServiceBuilder::new(OneWriter { files, folder: folder.into(), writing: Mutex::new(()) });
    service.set_auth(SimpleAuth::from_single(key, secret));
    let service = service.build();
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let server = Builder::new(TokioExecutor::new());
    loop {
        // Of one connection that does not come about the others are not told.
        let Ok((socket, _)) = listener.accept().await else { continue };
        let connection = server.serve_connection(TokioIo::new(socket), service.clone()).into_owned();
        tokio::spawn(async move {
            // A client that goes away is none of our errors.
            let _ = connection.await;
        });
    }
}
