//! Questions to the hub over HTTP.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

use super::HubError;

/// Longest wait for a connection and for the head of an answer.
const WAIT: Duration = Duration::from_secs(30);
/// Redirections within the hub, as after a repository was renamed.
const MAX_HOPS: usize = 5;
/// Longest list of a repository's files that is read.
const MAX_TEXT: u64 = 64 << 20;

/// What is asked for, for errors.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) repository: &'a str,
    pub(super) revision: &'a str,
    pub(super) file: &'a str,
}

impl Subject<'_> {
    pub(super) fn network(self, reason: impl fmt::Display) -> HubError {
        let (repository, revision, file) = self.parts();
        HubError::Network { repository, revision, file, reason: reason.to_string() }
    }

    pub(super) fn bad_answer(self, reason: impl Into<String>) -> HubError {
        let (repository, revision, file) = self.parts();
        HubError::BadAnswer { repository, revision, file, reason: reason.into() }
    }

    fn refused(self, status: u16) -> HubError {
        let (repository, revision, file) = self.parts();
        let mend = match status {
            401 | 403 => {
                "check the name; for a private or gated repository, accept its terms on its page and set `HF_TOKEN`"
            }
            404 => "check the names of repository, revision and file",
            429 => "too many requests: wait, or set `HF_TOKEN`",
            _ => "try again later",
        };
        HubError::Refused { repository, revision, file, status, mend }
    }

    fn parts(self) -> (String, String, String) {
        (self.repository.into(), self.revision.into(), self.file.into())
    }
}

/// A connection to a hub.
pub(super) struct Client {
    endpoint: String,
    token: Option<String>,
    /// Stays where it is asked.
    direct: Agent,
    /// Goes where it is sent, without the token if that is another host.
    following: Agent,
}

impl Client {
    pub(super) fn new(endpoint: &str, token: Option<String>) -> Self {
        let agent = |redirects| -> Agent {
            let config = Agent::config_builder()
                .max_redirects(redirects)
                .redirect_auth_headers(RedirectAuthHeaders::SameHost)
                .http_status_as_error(false)
                .timeout_connect(Some(WAIT))
                .timeout_recv_response(Some(WAIT))
                .user_agent(concat!("rekindle/", env!("CARGO_PKG_VERSION")));
            config.build().new_agent()
        };
        Self { endpoint: endpoint.trim_end_matches('/').into(), token, direct: agent(0), following: agent(10) }
    }

    /// A text of the hub itself.
    pub(super) fn text(&self, path: &str, subject: Subject<'_>) -> Result<String, HubError> {
        let answer = self.ask(&self.following, "GET", &self.address(path), subject)?;
        let mut body = answer.into_body();
        body.with_config().limit(MAX_TEXT).read_to_string().map_err(|error| subject.network(error))
    }

    /// What the hub says of a file, without sending it. Large files lie on another host, which is not asked.
    pub(super) fn head(&self, path: &str, subject: Subject<'_>) -> Result<Response<Body>, HubError> {
        let mut address = self.address(path);
        for _ in 0..MAX_HOPS {
            let answer = self.ask(&self.direct, "HEAD", &address, subject)?;
            let location = answer.headers().get("location").and_then(|value| value.to_str().ok());
            match location.filter(|_| answer.status().is_redirection()) {
                Some(path) if path.starts_with('/') && !path.starts_with("//") => address = self.address(path),
                _ => return Ok(answer),
            }
        }
        Err(subject.bad_answer("leads in circles"))
    }

    /// The bytes of a file.
    pub(super) fn bytes(&self, path: &str, subject: Subject<'_>) -> Result<impl Read + use<>, HubError> {
        let answer = self.ask(&self.following, "GET", &self.address(path), subject)?;
        Ok(answer.into_body().into_with_config().limit(u64::MAX).reader())
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint)
    }

    fn ask(
        &self,
        agent: &Agent,
        method: &str,
        address: &str,
        subject: Subject<'_>,
    ) -> Result<Response<Body>, HubError> {
        let address: Uri = address.parse().map_err(|error| subject.network(format!("`{address}`: {error}")))?;
        let request = if method == "HEAD" { agent.head(address) } else { agent.get(address) };
        // A coding of the transport would change length and hash.
        let request = request.header("accept-encoding", "identity");
        let request = match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        let answer = request.call().map_err(|error| subject.network(error))?;
        match answer.status() {
            status if status.is_success() || status.is_redirection() => Ok(answer),
            status => Err(subject.refused(status.as_u16())),
        }
    }
}

impl fmt::Debug for Client {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// A path as it stands in an address.
pub(super) fn escaped(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
