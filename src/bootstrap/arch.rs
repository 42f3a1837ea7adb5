//! For which machines a program is, by its name and by its ELF header.

#![forbid(unsafe_code)]

/// A kind of machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// How `uname -m` names it, and the first part of a target triple.
    pub(crate) name: &'static str,
    /// What `uname -m` says on machines that run its programs, as a pattern of the shell's `case`.
    pub(crate) uname: &'static str,
    /// Other names for it in a target triple, as beginnings.
    others: &'static [&'static str],
    /// `e_machine`, `EI_CLASS` and, where both are in use, `EI_DATA` of an ELF file.
    elf: (u16, u8, Option<u8>),
}

const BITS_32: u8 = 1;
const BITS_64: u8 = 2;
const LITTLE: u8 = 1;
const BIG: u8 = 2;

/// One whose name begins with another's comes first.
const MACHINES: [Machine; 14] = [
    machine("x86_64", "x86_64 | amd64", &["amd64"], (62, BITS_64, None)),
    machine("aarch64_be", "aarch64_be", &[], (183, BITS_64, Some(BIG))),
    machine("aarch64", "aarch64 | arm64", &["arm64"], (183, BITS_64, Some(LITTLE))),
    machine("armv7l", "armv7* | armv8l", &["armv7", "thumbv7"], (40, BITS_32, None)),
    machine("armv6l", "armv6* | armv7* | armv8l", &["armv6", "arm"], (40, BITS_32, None)),
    machine("i686", "i?86", &["i386", "i486", "i586"], (3, BITS_32, None)),
    machine("riscv64", "riscv64", &[], (243, BITS_64, None)),
    machine("riscv32", "riscv32", &[], (243, BITS_32, None)),
    machine("ppc64le", "ppc64le", &["powerpc64le"], (21, BITS_64, Some(LITTLE))),
    machine("ppc64", "ppc64", &["powerpc64"], (21, BITS_64, Some(BIG))),
    machine("s390x", "s390x", &[], (22, BITS_64, None)),
    machine("loongarch64", "loongarch64", &[], (258, BITS_64, None)),
    machine("mips64", "mips64", &[], (8, BITS_64, None)),
    machine("mips", "mips", &[], (8, BITS_32, None)),
];

const fn machine(
    name: &'static str,
    uname: &'static str,
    others: &'static [&'static str],
    elf: (u16, u8, Option<u8>),
) -> Machine {
    Machine { name, uname, others, elf }
}

impl Machine {
    /// All that are known, in the order in which the patterns have to be tried.
    pub(crate) fn all() -> &'static [Self] {
        &MACHINES
    }

    /// The one that a target triple, or what `uname -m` says, is for.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        let name = name.split(['-', '.']).next().unwrap_or_default();
        MACHINES.iter().find(|machine| {
            name.starts_with(machine.name)
                || machine.others.iter().any(|other| name.starts_with(other))
        })
    }

    /// Whether a program with this header is for such a machine.
    pub(crate) fn runs(&self, elf: &Elf) -> bool {
        let (machine, class, data) = self.elf;
        (machine, class) == (elf.machine, elf.class) && data.is_none_or(|data| data == elf.data)
    }
}

/// What a program's ELF header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elf {
    machine: u16,
    class: u8,
    data: u8,
    /// It needs a loader and libraries where it runs.
    pub(crate) dynamic: bool,
}

impl Elf {
    /// Reads the beginning of a file; `None` for what is no program for Linux.
    pub(crate) fn parse(file: &[u8]) -> Option<Self> {
        let [0x7f, b'E', b'L', b'F', class @ (BITS_32 | BITS_64), data @ (LITTLE | BIG), ..] =
            *file
        else {
            return None;
        };
        let number = |at: usize, length: usize| -> Option<u64> {
            let bytes = file.get(at..at.checked_add(length)?)?;
            let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
            Some(match data {
                BIG => bytes.iter().fold(0, add),
                _ => bytes.iter().rev().fold(0, add),
            })
        };
        // e_phoff, e_phentsize and e_phnum lie where the class has them.
        let (offset, size, count) = match class {
            BITS_64 => (number(32, 8)?, number(54, 2)?, number(56, 2)?),
            _ => (number(28, 4)?, number(42, 2)?, number(44, 2)?),
        };
        const PT_INTERP: u64 = 3;
        let mut dynamic = false;
        for index in 0..count {
            let at = usize::try_from(offset.checked_add(index.checked_mul(size)?)?).ok()?;
            dynamic |= number(at, 4)? == PT_INTERP;
        }
        let machine = u16::try_from(number(18, 2)?).ok()?;
        Some(Self { machine, class, data, dynamic })
    }

    /// The machine it is for. Which ARM that is, no header says: any will be tried.
    pub(crate) fn machine(&self) -> Option<&'static Machine> {
        MACHINES.iter().rfind(|machine| machine.runs(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, name) in [
            ("x86_64-unknown-linux-musl", "x86_64"),
            ("aarch64", "aarch64"),
            ("aarch64_be-unknown-linux-gnu", "aarch64_be"),
            ("armv7-unknown-linux-musleabihf", "armv7l"),
            ("armv7l", "armv7l"),
            ("arm-unknown-linux-musleabi", "armv6l"),
            ("arm64", "aarch64"),
            ("i586-unknown-linux-musl", "i686"),
            ("riscv64gc-unknown-linux-gnu", "riscv64"),
            ("powerpc64le-unknown-linux-gnu", "ppc64le"),
            ("mipsel-unknown-linux-musl", "mips"),
        ] {
            assert_eq!(Machine::named(text).unwrap().name, name, "{text}");
        }
        assert_eq!(Machine::named("vax"), None);
        assert_eq!(Machine::named(""), None);
    }

    #[test]
    fn this_program() {
        let file = std::fs::read("/proc/self/exe").unwrap();
        let elf = Elf::parse(&file).unwrap();
        assert_eq!(
            elf.machine().unwrap().name,
            Machine::named(std::env::consts::ARCH).unwrap().name
        );
        assert!(elf.machine().unwrap().runs(&elf));
    }

    #[test]
    fn what_is_none() {
        assert_eq!(Elf::parse(b""), None);
        assert_eq!(Elf::parse(b"#!/bin/sh\n"), None);
        assert_eq!(Elf::parse(b"\x7fELF"), None);
        assert_eq!(Elf::parse(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"), None);
    }
}
