//! Dumps: lists of a kernel's objects.

use std::time::Duration;

use netlink_remote::{
    Client, Error, ErrorKind, Netns, Protocol, Requests,
    client::{RawMessage, RequestError, RequestErrorKind, options},
    monitor::Ready,
    nlmsg::Message,
};

use tokio::{task::yield_now, time::sleep};

use super::failure::{Failure, warn};

/// The wait for a kernel before a word about it. A kernel answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// What keeps a kernel from answering while its host answers everything else.
const SILENCE: &str = "usually something there holds the lock of the network configuration: a driver or a \
                       hung process (as root there, `grep -l rtnl /proc/[0-9]*/stack` shows which wait for it)";

/// Messages that are taken in before others have their turn.
const TURN: u32 = 256;

/// A socket for dumps. It is in no group: a burst of events in its receive buffer would leave no
/// room for an answer.
#[derive(Debug)]
pub(crate) struct Dumper(Requests);

impl Dumper {
    /// Opens a socket on which the kernel filters by the request's header and attributes
    /// (`NETLINK_GET_STRICT_CHK`).
    pub(crate) async fn open(client: &Client, netns: &Netns) -> Result<Self, Failure> {
        let builder = client.socket(Protocol::ROUTE).netns(netns.clone());
        let opened = builder.netlink_option(options::GET_STRICT_CHK, true).open().await;
        Ok(Self(Requests::new(opened.map_err(|error| Failure::opening(error, netns))?)))
    }

    /// Likewise in the namespace of subscriptions that stand.
    pub(crate) async fn over(ready: &Ready) -> Result<Self, Error> {
        let Some(builder) = ready.socket(Protocol::ROUTE) else {
            return Err(Error::new(ErrorKind::Request, "another process has the connection"));
        };
        Ok(Self(Requests::new(builder.netlink_option(options::GET_STRICT_CHK, true).open().await?)))
    }

    /// The object that a request asks for; `None` where the kernel has none.
    pub(crate) async fn one(&self, request: Vec<u8>) -> Result<Option<RawMessage>, RequestError> {
        match self.0.one(request).await {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == RequestErrorKind::Refused => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a request and passes each message of the answer to `each`. After an error the
    /// messages passed so far are no list.
    pub(crate) async fn dump<E: From<RequestError>>(
        &self,
        request: Vec<u8>,
        mut each: impl AsyncFnMut(&Message<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut answer = self.0.send(request);
        let mut turn = 0;
        let mut is_told = false;
        loop {
            let next = tokio::select! {
                next = answer.next() => next,
                () = sleep(PATIENCE), if !is_told => {
                    is_told = true;
                    let seconds = PATIENCE.as_secs();
                    warn(&format!(
                        "the kernel there has not answered for {seconds} s; {SILENCE}; still waiting, \
                         Ctrl-C ends it"
                    ));
                    continue;
                }
            };
            let Some(message) = next else { return Ok(()) };
            each(&message?.message()).await?;
            // Rendering takes its time: signals have theirs in between.
            turn = (turn + 1) % TURN;
            if turn == 0 {
                yield_now().await;
            }
        }
    }
}

/// Does the work within the time that the user gives.
pub(crate) async fn within<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Some(limit) = limit else { return work.await };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Failure::waited_in_vain(format_args!(
            "the kernel there has not given the whole answer within {limit:?}; {SILENCE}"
        )))
    })
}

/// Whether a repeated dump may succeed: objects changed meanwhile, or messages were dropped.
pub(crate) fn is_transient(error: &RequestError) -> bool {
    matches!(error.kind(), RequestErrorKind::Interrupted | RequestErrorKind::Lost)
}

/// The failure to list objects of this name, in plural.
pub(crate) fn failure(error: RequestError, objects: &str) -> Failure {
    match (error.kind(), error.errno()) {
        (RequestErrorKind::Interrupted, _) => Failure::request(format_args!(
            "listing the {objects}: they kept changing meanwhile; try again when they change less \
             often"
        )),
        (RequestErrorKind::Refused, Some(errno)) => {
            Failure::errno(errno, format_args!("listing the {objects}: {error}"))
        }
        _ => Error::from(error).context(format_args!("listing the {objects}")).into(),
    }
}
