//! `nlr netns`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{connection::ConnectionArgs, failure::Failure, json, output::Output, session};
use netlink_remote::{Client, Target, client::NetnsEntry, text::escaped};

const EXAMPLES: &str = "\
The names are those of ip-netns(8): `ip netns` and `nlr netns` see each other's namespaces.

Examples:
  nlr netns list
  nlr netns add blue
  nlr netns del blue unix:/run/nlr.sock";

/// Lists, creates and deletes named network namespaces
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) enum NetnsCommand {
    /// Lists the named namespaces, each with its inode number, which identifies it
    #[command(after_help = "Example:\n  nlr netns list --json | jq -r '.[].name'")]
    List(ListArgs),
    /// Creates a namespace
    #[command(after_help = "Example:\n  nlr netns add blue")]
    Add(NameArgs),
    /// Deletes a name; its namespace exists for as long as anything uses it
    #[command(visible_alias = "delete", after_help = "Example:\n  nlr netns del blue")]
    Del(NameArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// A JSON array of objects with `name` and `inode`
    #[arg(long, short)]
    json: bool,
    /// Target, as `nlr --help` describes
    #[arg(default_value = "local:")]
    target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// Name of the namespace
    name: String,
    /// Target, as `nlr --help` describes
    #[arg(default_value = "local:")]
    target: Target,
}

pub(crate) fn run(connection: &ConnectionArgs, command: &NetnsCommand) -> Result<(), Failure> {
    match command {
        NetnsCommand::List(args) => session::run(connection, &args.target, async |session| {
            list(&session.client, args.json).await
        }),
        NetnsCommand::Add(args) => session::run(connection, &args.target, async |session| {
            Ok(session.client.netns().add(&args.name).await?)
        }),
        NetnsCommand::Del(args) => session::run(connection, &args.target, async |session| {
            Ok(session.client.netns().delete(&args.name).await?)
        }),
    }
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let entries = client.netns().list().await?;
    let text = if json { list_as_json(&entries) } else { list_as_text(&entries) };
    let mut output = Output::new()?;
    output.write(text.into_bytes()).await?;
    output.finish().await
}

fn list_as_json(entries: &[NetnsEntry]) -> String {
    let object = |entry: &NetnsEntry| json!({ "name": entry.name, "inode": inode(entry) });
    let items: Vec<_> = entries.iter().map(|entry| json::text(&object(entry))).collect();
    format!("[{}]\n", items.join(",\n"))
}

fn list_as_text(entries: &[NetnsEntry]) -> String {
    let names: Vec<_> = entries.iter().map(|entry| escaped(&entry.name)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let width = width.max("NAME".len());
    let mut text = format!("{:width$}  INODE\n", "NAME");
    for (name, entry) in names.iter().zip(entries) {
        let inode = match inode(entry) {
            Value::Null => "not a namespace".to_owned(),
            inode => inode.to_string(),
        };
        text.push_str(&format!("{name:width$}  {inode}\n"));
    }
    text
}

/// The inode number; null for a file that is no namespace.
fn inode(entry: &NetnsEntry) -> Value {
    match entry.id.inode {
        0 => Value::Null,
        inode => inode.into(),
    }
}
