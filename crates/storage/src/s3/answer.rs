//! What a request to S3 came to: the server's answer as it was, and what it means.
//!
//! The client turns some answers into errors of its own and hides the status of others. So its connector is wrapped:
//! every answer that is not a success becomes a [`Refusal`] with status and code, found again in the chain of sources.
//!
//! A status below 500 is the server's word that it did nothing. 503 (`SlowDown`) and 429 are that too. Any other 5xx, a
//! time-out and a connection that broke leave it open; only a connection that was never made is certain.

use std::error::Error as StdError;
use std::fmt;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

use crate::error::What;
use crate::remote::Failed;

/// Of an error page no more is kept.
const LONGEST_MESSAGE: usize = 300;

/// An answer that is not a success.
#[derive(Debug)]
struct Refusal {
    status: u16,
    /// S3's name for it: `NoSuchBucket`. Empty if there is none, as in an answer to HEAD.
    code: String,
    message: String,
}

impl Refusal {
    fn new(status: u16, body: &str) -> Self {
        let code = element(body, "Code").unwrap_or_default().to_owned();
        let message: String = element(body, "Message").unwrap_or(body).trim().chars().take(LONGEST_MESSAGE).collect();
        Refusal { status, code, message }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.status)?;
        for part in [&self.code, &self.message].into_iter().filter(|part| !part.is_empty()) {
            write!(f, " {part}")?;
        }
        Ok(())
    }
}

impl StdError for Refusal {}

/// The text of an element of a small XML document.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let rest = &xml[xml.find(&format!("<{name}>"))? + name.len() + 2..];
    Some(&rest[..rest.find(&format!("</{name}>"))?])
}

/// Connects as the client does by itself, and keeps what servers answer.
#[derive(Debug, Default)]
pub(super) struct Connector(ReqwestConnector);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.connect(options)?)))
    }
}

#[derive(Debug)]
struct Service(HttpClient);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.0.execute(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.into_body().bytes().await?;
        let refusal = Refusal::new(status.as_u16(), &String::from_utf8_lossy(&body));
        Err(HttpError::new(HttpErrorKind::Unknown, refusal))
    }
}

/// The meaning of `error`.
pub(super) fn failed(error: object_store::Error) -> Failed {
    if let Some(refusal) = find::<Refusal>(&error) {
        return refused(refusal);
    }
    let said = innermost(&error);
    match find::<HttpError>(&error).map(HttpError::kind) {
        Some(HttpErrorKind::Connect) => Failed::new(What::Other, said)
            .again()
            .with_detail("nothing answers there: correct option endpoint, or see that the network is well"),
        Some(_) => Failed::new(What::Other, said).in_doubt().again().with_detail(
            "the connection broke or its answer is not S3's: see that the endpoint and the network are well",
        ),
        // The client's own doing: nothing was sent, or an answer was not understood.
        None => Failed::new(What::Other, said).in_doubt().again(),
    }
}

fn refused(refusal: &Refusal) -> Failed {
    let failed = |what| Failed::new(what, refusal.to_string());
    match (refusal.status, refusal.code.as_str()) {
        (_, "NoSuchBucket") => failed(What::NotFound).with_detail("create the bucket, or correct its name"),
        (404, _) => failed(What::NotFound),
        (412, _) => failed(What::AlreadyExists),
        // Two conditional requests met: neither has won by this answer.
        (409, _) => failed(What::Other).again(),
        (416, _) => failed(What::CutOff),
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken") => failed(What::Denied)
            .with_detail("the credentials were refused: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to valid ones"),
        (_, "AuthorizationHeaderMalformed" | "PermanentRedirect") => {
            failed(What::Other).with_detail("give the bucket's region by option region or AWS_REGION")
        }
        (301 | 307, _) => failed(What::Other).with_detail("give the bucket's region by option region or AWS_REGION"),
        (401 | 403, _) => failed(What::Denied).with_detail(
            "allow these credentials s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on the bucket",
        ),
        (400, "RequestTimeout") | (408 | 429, _) => failed(What::Other).again(),
        (503, _) => failed(What::Other).again().with_detail("the server is overloaded or starting"),
        (status, _) if status >= 500 => failed(What::Other).in_doubt().again(),
        _ => failed(What::Other),
    }
}

/// The first error of a type in the chain of sources.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// The last source says what happened; those above repeat it with addresses and times of the client.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let source = |error: &&'a (dyn StdError + 'static)| -> Option<&'a (dyn StdError + 'static)> { (*error).source() };
    std::iter::successors(Some(error), source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Outcome};
    use crate::remote::{Course, Effect};

    /// The error of an operation that has no time for a second attempt.
    fn told(status: u16, body: &str) -> Error {
        let none = std::time::Duration::ZERO;
        let error = HttpError::new(HttpErrorKind::Unknown, Refusal::new(status, body));
        let failed = failed(object_store::Error::Generic { store: "S3", source: Box::new(error) });
        Course::new(none, none).end(failed, none).into_error("publish", "x", Effect::Writes)
    }

    #[test]
    fn a_status_is_certain_unless_the_server_failed_on_the_way() {
        for status in [400, 403, 404, 409, 412, 416, 429, 503] {
            assert_eq!(told(status, "").outcome(), Outcome::DidNotHappen, "{status}");
        }
        for status in [500, 502, 504] {
            assert_eq!(told(status, "").outcome(), Outcome::MayHaveHappened, "{status}");
        }
    }

    #[test]
    fn an_answer_is_told_by_its_code_with_the_way_out() {
        let body = "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>It is not there</Message></Error>";
        let error = told(404, body);
        assert_eq!(error.what(), What::NotFound);
        let text = format!("{error:?}");
        assert!(text.contains("create the bucket") && text.ends_with("404 NoSuchBucket It is not there"), "{text}");
        let error = told(403, "<Error><Code>SignatureDoesNotMatch</Code></Error>");
        assert!(error.what() == What::Denied && error.to_string().contains("AWS_SECRET_ACCESS_KEY"), "{error}");
    }
}
