//! `nlr monitor`.

use std::{future::pending, time::SystemTime};

use nix::errno::Errno;
use serde_json::json;
use tokio::time::sleep;

use super::{
    args::MonitorArgs,
    dump::{Dumper, ROUTE, Unlisted},
    failure::{Failure, complain},
    groups,
    output::Output,
    session::Session,
    show::{
        self, Names,
        fields::Fields,
        message::messages,
        table::{Cell, Paint, line},
    },
    time::rfc3339,
};
use netlink_remote::{Error, ErrorKind, Event, Netns, RemoteSocket};

/// Bytes that are collected, while there are more events, before they are written.
const PIECE: usize = 64 * 1024;

pub(super) async fn run(session: &Session, args: &MonitorArgs) -> Result<(), Failure> {
    session.check_byte_order()?;
    let netns = args.netns.netns();
    // Joined first, so that nothing is missed between the list of links and the first event.
    let socket = subscribe(session, args, &netns).await?;
    let mut monitor = Monitor {
        dumper: Dumper::open(&session.client, &netns).await?,
        names: Names::local(),
        json: args.json,
        color: !args.json && args.color.on(),
        left: args.count,
        pending: Vec::new(),
    };
    monitor.learn_links().await?;
    let mut output = Output::new()?;
    let end = async {
        match args.timeout {
            Some(timeout) => sleep(timeout).await,
            None => pending().await,
        }
    };
    tokio::select! {
        // What has come by the end counts.
        biased;
        result = monitor.follow(&socket, &mut output) => result?,
        () = end => {}
    }
    output.finish().await
}

/// Opens a socket that is in the groups.
async fn subscribe(
    session: &Session,
    args: &MonitorArgs,
    netns: &Netns,
) -> Result<RemoteSocket, Failure> {
    let builder = || session.client.socket(ROUTE).netns(netns.clone());
    let wanted: Vec<u32> = args.group.iter().flat_map(|groups| groups.0.clone()).collect();
    let chosen = if wanted.is_empty() { groups::all().collect() } else { wanted.clone() };
    let opened = chosen.iter().fold(builder(), |builder, group| builder.group(*group)).open().await;
    let error = match opened {
        Ok(socket) => return Ok(socket),
        Err(error) => error,
    };
    if !cannot_be_joined(&error) {
        return Err(Failure::opening(error, netns));
    }
    // One by one it is told which group it was; not all kernels have all groups, and some are
    // not for everybody.
    let socket = builder().open().await.map_err(|error| Failure::opening(error, netns))?;
    for group in chosen {
        match socket.join(group).await {
            Err(error) if wanted.is_empty() && cannot_be_joined(&error) => {}
            Err(error) => {
                let remedy = match error.errno().map(Errno::from_raw) {
                    Some(Errno::EINVAL) => "; the kernel there has no such group",
                    _ => "",
                };
                let error = error.context(format_args!("group {}", groups::name(group)));
                return Err(Failure::from(error).followed_by(remedy));
            }
            Ok(()) => {}
        }
    }
    Ok(socket)
}

/// Whether a group was refused, in so far as the errno tells.
fn cannot_be_joined(error: &Error) -> bool {
    matches!(error.errno().map(Errno::from_raw), Some(Errno::EINVAL | Errno::EPERM | Errno::ENOENT))
        && matches!(error.kind(), ErrorKind::Open | ErrorKind::Request)
}

struct Monitor {
    /// Lists the links, on a socket of its own: an answer must not be crowded out by events.
    dumper: Dumper,
    names: Names,
    json: bool,
    color: bool,
    /// How many more events are to be told.
    left: Option<u64>,
    /// Lines not handed to the writer yet.
    pending: Vec<u8>,
}

impl Monitor {
    /// Learns the names of the links anew.
    async fn learn_links(&mut self) -> Result<(), Failure> {
        let Self { dumper, names, .. } = self;
        names.forget_links();
        match dumper.dump(&show::link_request(), |message| names.observe(message)).await {
            // The changes that interrupted it are among the events to come.
            Ok(()) | Err(Unlisted::Interrupted) => Ok(()),
            Err(error) => Err(error.into_failure("links")),
        }
    }

    /// Tells the events until there were enough.
    async fn follow(&mut self, socket: &RemoteSocket, output: &mut Output) -> Result<(), Failure> {
        while self.left != Some(0) {
            // Lines that wait for more to come would be late.
            let event = match self.pending.len() < PIECE {
                true => socket.try_recv(),
                false => Ok(None),
            };
            let event = match event {
                Ok(Some(event)) => Ok(event),
                Ok(None) => {
                    self.flush(output).await?;
                    socket.recv().await
                }
                Err(error) => Err(error),
            };
            match event {
                Ok(Event::Datagram(datagram)) => self.datagram(&datagram.data),
                Ok(Event::Lost { dropped, total }) => {
                    self.lost(dropped, total);
                    // Told before the links are listed, which takes a while.
                    self.flush(output).await?;
                    if self.left != Some(0) {
                        self.learn_links().await?;
                    }
                }
                Ok(other) => complain(&format!("an event this version does not know: {other:?}")),
                Err(error) if error.kind() == ErrorKind::Receive => {
                    complain(&format!("{error:#}; its events are missing"));
                }
                Err(error) => {
                    self.flush(output).await?;
                    return Err(error.into());
                }
            }
        }
        self.flush(output).await
    }

    async fn flush(&mut self, output: &mut Output) -> Result<(), Failure> {
        output.write(std::mem::take(&mut self.pending)).await
    }

    /// Tells what a datagram holds.
    fn datagram(&mut self, datagram: &[u8]) {
        let time = rfc3339(SystemTime::now());
        for message in messages(datagram) {
            let Some(event) = show::event(&message, &mut self.names) else { continue };
            let action = event.action.name();
            let text = match self.json {
                true => json_line(&time, action, event.object, event.data),
                false => self.text_line(&time, &event.text(self.color)),
            };
            self.tell(&text);
        }
    }

    /// Tells that events were dropped.
    fn lost(&mut self, dropped: u64, total: u64) {
        let time = rfc3339(SystemTime::now());
        let text = if self.json {
            let line = json!({ "time": time, "event": "lost", "dropped": dropped, "total": total });
            line.to_string()
        } else {
            let what = format!("{dropped} datagrams were dropped, {total} so far");
            let cells = [Cell::new("lost".to_owned(), Paint::Bad), Cell::plain(what)];
            self.text_line(&time, &line(&cells, self.color))
        };
        self.tell(&text);
    }

    fn text_line(&self, time: &str, text: &str) -> String {
        let time = line(&[Cell::new(time.to_owned(), Paint::Dim)], self.color);
        format!("{time} {text}")
    }

    /// Adds a line, unless there were enough.
    fn tell(&mut self, text: &str) {
        if self.left == Some(0) {
            return;
        }
        self.left = self.left.map(|left| left - 1);
        self.pending.extend_from_slice(text.as_bytes());
        self.pending.push(b'\n');
    }
}

/// An event as a JSON object: time, event and object, then the object's own keys. One of these
/// that is called like the first three gets the object's name in front.
fn json_line(time: &str, action: &str, object: &str, data: Fields) -> String {
    let mut line = Fields::new();
    for (key, value) in [("time", time), ("event", action), ("object", object)] {
        line.insert(key.to_owned(), value.into());
    }
    for (key, value) in data {
        let key = if line.contains_key(&key) { format!("{object}_{key}") } else { key };
        line.insert(key, value);
    }
    serde_json::Value::from(line).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_s_own_event_does_not_hide_ours() {
        let mut data = Fields::new();
        data.insert("ifname".to_owned(), "v0".into());
        data.insert("event".to_owned(), "NOTIFY PEERS".into());
        assert_eq!(
            json_line("T", "new", "link", data),
            r#"{"time":"T","event":"new","object":"link","ifname":"v0","link_event":"NOTIFY PEERS"}"#
        );
    }
}
