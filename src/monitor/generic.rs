//! The groups of generic netlink's families.

use crate::{
    Error, ErrorKind, Group, Origin, Requests,
    client::RequestErrorKind,
    errno::ENOENT,
    nlmsg::{Attributes, Builder},
};

/// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY` and the version of both.
const CONTROLLER: u16 = 16;
const GETFAMILY: u8 = 3;
const VERSION: u8 = 2;

/// `struct genlmsghdr`.
const HEADER: usize = 4;

/// `CTRL_ATTR_FAMILY_NAME` and `CTRL_ATTR_MCAST_GROUPS`, inside of which are `CTRL_ATTR_MCAST_GRP_NAME` and
/// `CTRL_ATTR_MCAST_GRP_ID`.
const FAMILY_NAME: u16 = 2;
const GROUPS: u16 = 7;
const GROUP_NAME: u16 = 1;
const GROUP_ID: u16 = 2;

/// The numbers of a family's group, or of all its groups.
pub(super) async fn groups(
    requests: &Requests,
    family: &str,
    group: Option<&str>,
) -> Result<Vec<Group>, Error> {
    let missing = |what: String| {
        let error = Error::new(ErrorKind::Open, format!("the kernel there has no {what}"));
        error.with_origin(Origin::Kernel).with_errno(ENOENT).lasting()
    };
    let mut name = family.as_bytes().to_vec();
    name.push(0);
    let request = Builder::new(CONTROLLER, 0).put(&[GETFAMILY, VERSION, 0, 0]);
    let request = request.attribute(FAMILY_NAME, &name).finish();
    let answer = match requests.one(request).await {
        Ok(answer) => answer,
        Err(error) if error.kind() == RequestErrorKind::Refused => {
            return Err(missing(format!("family {family:?} of generic netlink")));
        }
        Err(error) => return Err(error.into()),
    };
    let listed = answer.attributes(HEADER).nested(GROUPS).unwrap_or_default();
    let listed = listed.iter().filter_map(|(_, listed)| {
        let listed = Attributes(listed);
        Some((listed.text(GROUP_NAME)?, Group::new(listed.u32(GROUP_ID)?)))
    });
    let listed: Vec<_> = listed.collect();
    let found = listed.iter().filter(|(name, _)| group.is_none_or(|group| group == name));
    let found: Vec<_> = found.map(|(_, group)| *group).collect();
    if found.is_empty() {
        let known: Vec<_> = listed.iter().map(|(name, _)| name.as_str()).collect();
        let group = group.map_or("group".to_owned(), |group| format!("group {group:?}"));
        return Err(missing(format!(
            "{group} in family {family:?} of generic netlink; it has: {}",
            known.join(", ")
        )));
    }
    Ok(found)
}
