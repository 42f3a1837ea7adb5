//! The whole table: which cells the tests have, and which are left out, each with its reason.

use crate::{
    cells::{Cell, FAULTS, Fault::*, LeftOut, PARTIES, Party::*, STEPS, Step::*},
    far, limits, near, outputs,
};

const TESTED: &[&[Cell]] =
    &[near::LOCAL, near::UNIX, far::SSH, far::OPENSSH, limits::CELLS, outputs::CELLS];

const LEFT_OUT: &[LeftOut] = &[
    LeftOut {
        parties: &[Docker],
        steps: &[Connecting, Upload, Hello, Idle, Dump, Monitor, Closing],
        faults: &[Kill, Stop],
        why: "docker inspect runs for the opening of a socket alone",
    },
    LeftOut {
        parties: &[Stub, Sudo, Server],
        steps: &[Connecting],
        faults: &[Kill, Stop],
        why: "none of them runs before ssh is up; connecting to a unix socket takes no time",
    },
    LeftOut {
        parties: &[Stub, Server],
        steps: &[Upload],
        faults: &[Kill, Stop],
        why: "a stub that is on its way does not run yet; nothing is sent to a server",
    },
    LeftOut {
        parties: &[Client],
        steps: &[Connecting, Upload, Hello, Open, Closing],
        faults: &[Stop],
        why: "a stub waits a minute for a hello, and then by its keepalive, as in the cells of Idle; \
              sshd and its shell wait for a stopped client as for any other; a closed stream is closed",
    },
    LeftOut {
        parties: &[Sudo],
        steps: &[Upload, Hello, Open, Idle, Dump],
        faults: &[Stop],
        why: "sudo only waits for the stub, as the cells of Monitor and Closing show",
    },
    LeftOut {
        parties: &[Server],
        steps: &[Closing],
        faults: &[Kill, Stop],
        why: "a client that has closed its stream does not wait for a server",
    },
    LeftOut {
        parties: &[Client, Stub, Sudo, Server, Docker],
        steps: &[],
        faults: &[Cut],
        why: "the link is one between ssh and sshd: the cells of sshd cut it for ssh in the client, \
              those of ssh for the program",
    },
    LeftOut {
        parties: &[Ssh],
        steps: &[Hello, Open, Closing],
        faults: &[Cut],
        why: "the same as in the cells of sshd",
    },
    LeftOut {
        parties: &[Ssh, Sshd, Sudo, Docker],
        steps: &[],
        faults: &[NoSpace, NoFiles, NoProcesses, NoMemory, ClosedOutput, FullOutput],
        why: "to nlr they are programs that fail or end, as after SIGKILL; their streams are its pipes",
    },
    LeftOut {
        parties: &[Client, Stub, Server],
        steps: &[Connecting, Upload, Open, Idle, Dump, Monitor, Closing],
        faults: &[NoProcesses, NoMemory],
        why: "a limit is set from the start: the sweeps of Hello pass through all steps",
    },
    LeftOut {
        parties: &[Client],
        steps: &[Connecting, Upload, Open, Idle, Dump, Monitor, Closing],
        faults: &[NoFiles],
        why: "a limit is set from the start: the sweep of Hello passes through all steps",
    },
    LeftOut {
        parties: &[Stub, Server],
        steps: &[Connecting, Upload, Idle, Dump, Monitor, Closing],
        faults: &[NoFiles],
        why: "descriptors are taken by hellos and opens alone",
    },
    LeftOut {
        parties: &[Server],
        steps: &[Hello, Open],
        faults: &[NoFiles],
        why: "a server has shares of descriptors: `hostile_users` of the behaviour tests",
    },
    LeftOut {
        parties: &[Server],
        steps: &[Hello],
        faults: &[NoMemory],
        why: "a client costs a server bounded memory: `hostile_users` of the behaviour tests",
    },
    LeftOut {
        parties: &[Client],
        steps: &[Upload, Hello, Open, Idle, Dump, Monitor, Closing],
        faults: &[NoSpace],
        why: "a client writes no file but known_hosts",
    },
    LeftOut {
        parties: &[Stub],
        steps: &[Connecting, Hello, Idle, Dump, Monitor, Closing],
        faults: &[NoSpace],
        why: "a stub writes no file but the names of namespaces, and lies in one itself",
    },
    LeftOut {
        parties: &[Server],
        steps: &[],
        faults: &[NoSpace],
        why: "a server writes what a stub does",
    },
    LeftOut {
        parties: &[Client, Stub, Server],
        steps: &[Connecting, Upload, Hello, Open, Dump, Monitor, Closing],
        faults: &[ClosedOutput, FullOutput],
        why: "standard streams are closed or full from the start, for all steps",
    },
];

#[test]
fn each_cell_is_tested_or_left_out_with_a_reason() {
    let mut wrong = Vec::new();
    let mut tested = 0;
    for party in PARTIES {
        for step in STEPS {
            for fault in FAULTS {
                let has = |cell: &Cell| (cell.party, cell.step, cell.fault) == (party, step, fault);
                let is_tested = TESTED.iter().any(|cells| cells.iter().any(has));
                let left_out = LEFT_OUT.iter().find(|left_out| left_out.has(party, step, fault));
                tested += usize::from(is_tested);
                match (is_tested, left_out) {
                    (true, None) | (false, Some(_)) => {}
                    (true, Some(left_out)) => {
                        wrong.push(format!(
                            "{party:?} {step:?} {fault:?}: tested, but {:?}",
                            left_out.why
                        ));
                    }
                    (false, None) => {
                        wrong.push(format!("{party:?} {step:?} {fault:?}: not tested"))
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{tested} combinations of party, step and fault are tested");
}
