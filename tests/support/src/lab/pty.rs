//! A program on a pseudo-terminal, and its reader and typist.

use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::pty::{Winsize, openpty};

use crate::{PATIENCE, wait_up_to};

/// Of the terminal, in characters.
const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

/// A program on a pseudo-terminal of its own; killed when dropped.
pub struct Pty {
    keyboard: File,
    child: Child,
    written: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    /// The bytes that earlier expectations matched, from the start.
    seen: usize,
}

impl Pty {
    /// Starts a program with the terminal for its input, output and controlling terminal.
    pub fn start(command: &Command) -> Self {
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let mut on_terminal = Command::new("setsid");
        on_terminal.arg("--ctty").arg(command.get_program()).args(command.get_args());
        // A command does not say whether it clears the environment; the lab's commands do.
        on_terminal.env_clear();
        for (name, value) in command.get_envs() {
            value.map(|value| on_terminal.env(name, value));
        }
        let slave = || pty.slave.try_clone().unwrap();
        on_terminal.stdin(slave()).stdout(slave()).stderr(slave());
        let child = on_terminal.spawn().unwrap();
        drop((on_terminal, pty.slave));

        let keyboard = File::from(pty.master);
        let mut screen = keyboard.try_clone().unwrap();
        let written = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&written);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            // EIO: the last process has closed the other side.
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                theirs.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        Self { keyboard, child, written, reader: Some(reader), seen: 0 }
    }

    /// Waits for a text after the matches of earlier expectations.
    #[track_caller]
    pub fn expect(&mut self, text: &str, patience: Duration) {
        let mut end = None;
        wait_up_to(patience, || {
            let written = self.written.lock().unwrap();
            let mut places = written[self.seen..].windows(text.len());
            end = places.position(|part| part == text.as_bytes());
            end.is_some()
        });
        match end {
            Some(start) => self.seen += start + text.len(),
            None => panic!("no {text:?} within {patience:?} in {:?}", self.transcript()),
        }
    }

    /// Types a text.
    pub fn send(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// The output so far, control characters included.
    pub fn transcript(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// The output so far as the terminal shows it, without scrolling.
    pub fn screen(&self) -> String {
        render(&self.transcript())
    }

    /// The pid of the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the program's end; the transcript is then complete.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        let ended = wait_up_to(PATIENCE, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "still running; its output so far: {:?}", self.transcript());
        // A process that outlives the program may keep the terminal open.
        wait_up_to(Duration::from_secs(2), || self.reader.as_ref().is_none_or(|r| r.is_finished()));
        status.unwrap()
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A process that outlives the program may keep the terminal open, and the reader waiting.
        if let Some(reader) = self.reader.take()
            && wait_up_to(Duration::from_secs(2), || reader.is_finished())
        {
            let _ = reader.join();
        }
    }
}

/// The text that a terminal shows: carriage returns, cursor movements and erasing are carried out;
/// colours and other sequences are dropped.
pub fn render(text: &str) -> String {
    let mut lines = vec![Vec::new()];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{8}' => column = column.saturating_sub(1),
            '\u{1b}' if rest.next_if_eq(&'[').is_some() => {
                let mut number = String::new();
                while let Some(digit) = rest.next_if(|c| c.is_ascii_digit() || ";?".contains(*c)) {
                    number.push(digit);
                }
                let count = number.parse().unwrap_or(0);
                match rest.next() {
                    Some('A') => row = row.saturating_sub(count.max(1)),
                    Some('B') => row += count.max(1),
                    Some('C') => column += count.max(1),
                    Some('D') => column = column.saturating_sub(count.max(1)),
                    Some('G') => column = count.max(1) - 1,
                    Some('K') if count == 0 => lines[row].truncate(column),
                    Some('K') => lines[row].clear(),
                    Some('J') => {
                        lines[row].truncate(column);
                        lines.truncate(row + 1);
                    }
                    _ => {}
                }
            }
            next if next.is_control() => {}
            next => {
                let line: &mut Vec<char> = &mut lines[row];
                if line.len() <= column {
                    line.resize(column + 1, ' ');
                }
                line[column] = next;
                column += 1;
            }
        }
        if lines.len() <= row {
            lines.resize(row + 1, Vec::new());
        }
    }
    let lines = lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}
