//! `nlr netns`.

use serde_json::json;

use super::{
    args::NetnsListArgs,
    failure::{Failure, one_line},
    output::Output,
    session::Session,
};

pub(super) async fn list(session: &Session, args: &NetnsListArgs) -> Result<(), Failure> {
    let entries = session.client.netns().list().await?;
    // A file that is no namespace has no identity.
    let inode = |inode: u64| (inode != 0).then_some(inode);
    let text = if args.json {
        let items = entries
            .iter()
            .map(|entry| json!({ "name": entry.name, "inode": inode(entry.id.inode) }).to_string());
        format!("[{}]\n", items.collect::<Vec<_>>().join(",\n"))
    } else {
        let names: Vec<_> = entries.iter().map(|entry| one_line(&entry.name)).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
        let width = width.max("NAME".len());
        let mut text = format!("{:width$}  INODE\n", "NAME");
        for (name, entry) in names.iter().zip(&entries) {
            let inode = inode(entry.id.inode);
            let inode = inode.map_or_else(|| "not a namespace".to_owned(), |id| id.to_string());
            text.push_str(&format!("{name:width$}  {inode}\n"));
        }
        text
    };
    let mut output = Output::new()?;
    output.write(text.into_bytes()).await?;
    output.finish().await
}

pub(super) async fn add(session: &Session, name: &str) -> Result<(), Failure> {
    Ok(session.client.netns().add(name).await?)
}

pub(super) async fn delete(session: &Session, name: &str) -> Result<(), Failure> {
    Ok(session.client.netns().delete(name).await?)
}
