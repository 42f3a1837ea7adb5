//! The picture in the README: percentile curves by `nlr bench` over several transports.

use std::{env, process::Command};

use testing::{
    bench::{
        routes,
        transport::{self, Transport},
    },
    programs,
    sshd::sshd,
};

/// The variable that names the file to draw.
const FILE: &str = "NLR_PICTURE";

pub(crate) fn draw() {
    let Some(file) = env::var_os(FILE) else {
        eprintln!("no picture is drawn: benches/picture does");
        return;
    };
    routes::fill();
    let _listener = transport::listener();
    let transports = [Transport::Pipe, Transport::Unix, Transport::Ssh, Transport::OpenSsh];
    let transports = Transport::possible(&transports);
    let mut command = Command::new(programs::nlr());
    command.args(["bench", "--plot"]).arg(&file);
    command.args(transports.iter().map(|transport| transport.target().to_string()));
    if transports.contains(&Transport::Ssh) {
        command.arg("-F").arg(&sshd().config).arg("--stubs").arg(programs::stripped_stub());
    }
    assert!(command.status().unwrap().success());
}
