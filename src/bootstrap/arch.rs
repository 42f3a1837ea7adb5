//! Architectures, by name and by ELF header.

/// An architecture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arch {
    /// The first word of a target triple, and mostly the output of `uname -m`.
    pub(crate) name: &'static str,
    /// The output of `uname -m` on hosts that run its programs, as a pattern of the shell's `case`.
    pub(crate) uname: &'static str,
    /// The target triple for static programs.
    pub(crate) triple: &'static str,
    /// The beginnings of its other names in a target triple.
    others: &'static [&'static str],
    /// `e_machine`, `EI_CLASS` and, where both byte orders are in use, `EI_DATA` of an ELF file.
    elf: (u16, u8, Option<u8>),
}

const BITS_32: u8 = 1;
const BITS_64: u8 = 2;
const LITTLE: u8 = 1;
const BIG: u8 = 2;

/// An architecture whose name begins with that of another comes before it.
#[rustfmt::skip]
const ALL: [Arch; 14] = [
    arch("x86_64", "x86_64 | amd64", "x86_64-unknown-linux-musl", &["amd64"], (62, BITS_64, None)),
    arch("aarch64_be", "aarch64_be", "aarch64_be-unknown-linux-musl", &[], (183, BITS_64, Some(BIG))),
    arch("aarch64", "aarch64 | arm64", "aarch64-unknown-linux-musl", &["arm64"], (183, BITS_64, Some(LITTLE))),
    arch("armv7l", "armv7* | armv8l", "armv7-unknown-linux-musleabihf", &["armv7", "thumbv7"], (40, BITS_32, None)),
    arch("armv6l", "armv6* | armv7* | armv8l", "arm-unknown-linux-musleabihf", &["armv6", "arm"], (40, BITS_32, None)),
    arch("i686", "i?86", "i686-unknown-linux-musl", &["i386", "i486", "i586"], (3, BITS_32, None)),
    arch("riscv64", "riscv64", "riscv64gc-unknown-linux-musl", &[], (243, BITS_64, None)),
    arch("riscv32", "riscv32", "riscv32gc-unknown-linux-musl", &[], (243, BITS_32, None)),
    arch("ppc64le", "ppc64le", "powerpc64le-unknown-linux-musl", &["powerpc64le"], (21, BITS_64, Some(LITTLE))),
    arch("ppc64", "ppc64", "powerpc64-unknown-linux-musl", &["powerpc64"], (21, BITS_64, Some(BIG))),
    arch("s390x", "s390x", "s390x-unknown-linux-musl", &[], (22, BITS_64, None)),
    arch("loongarch64", "loongarch64", "loongarch64-unknown-linux-musl", &[], (258, BITS_64, None)),
    arch("mips64", "mips64", "mips64-unknown-linux-muslabi64", &[], (8, BITS_64, None)),
    arch("mips", "mips", "mips-unknown-linux-musl", &[], (8, BITS_32, None)),
];

const fn arch(
    name: &'static str,
    uname: &'static str,
    triple: &'static str,
    others: &'static [&'static str],
    elf: (u16, u8, Option<u8>),
) -> Arch {
    Arch { name, uname, triple, others, elf }
}

impl Arch {
    /// All known ones, in the order in which their patterns have to be tried.
    pub(crate) fn all() -> &'static [Self] {
        &ALL
    }

    /// The architecture of a target triple, or of the output of `uname -m`.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        let name = name.split(['-', '.']).next().unwrap_or_default();
        ALL.iter().find(|arch| {
            name.starts_with(arch.name) || arch.others.iter().any(|other| name.starts_with(other))
        })
    }

    /// Whether it runs a program with this header.
    pub(crate) fn runs(&self, elf: &Elf) -> bool {
        let (machine, class, data) = self.elf;
        (machine, class) == (elf.machine, elf.class) && data.is_none_or(|data| data == elf.data)
    }
}

/// The ELF header of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elf {
    machine: u16,
    class: u8,
    data: u8,
    /// Whether it needs a loader and shared libraries.
    pub(crate) is_dynamic: bool,
}

impl Elf {
    /// Reads the beginning of a file; `None` where it is no ELF file.
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
        // The class decides on the offsets of e_phoff, e_phentsize and e_phnum.
        let (offset, size, count) = match class {
            BITS_64 => (number(32, 8)?, number(54, 2)?, number(56, 2)?),
            _ => (number(28, 4)?, number(42, 2)?, number(44, 2)?),
        };
        const PT_INTERP: u64 = 3;
        let mut is_dynamic = false;
        for index in 0..count {
            let at = usize::try_from(offset.checked_add(index.checked_mul(size)?)?).ok()?;
            is_dynamic |= number(at, 4)? == PT_INTERP;
        }
        let machine = u16::try_from(number(18, 2)?).ok()?;
        Some(Self { machine, class, data, is_dynamic })
    }

    /// The architecture it is for. The header does not tell the versions of ARM apart: for the
    /// lowest, whose pattern matches all hosts.
    pub(crate) fn arch(&self) -> Option<&'static Arch> {
        ALL.iter().rfind(|arch| arch.runs(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases() {
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
            assert_eq!(Arch::named(text).unwrap().name, name, "{text}");
        }
        assert_eq!(Arch::named("vax"), None);
        assert_eq!(Arch::named(""), None);
    }

    #[test]
    fn this_program() {
        let file = std::fs::read("/proc/self/exe").unwrap();
        let elf = Elf::parse(&file).unwrap();
        assert_eq!(elf.arch().unwrap().name, Arch::named(std::env::consts::ARCH).unwrap().name);
        assert!(elf.arch().unwrap().runs(&elf));
    }

    #[test]
    fn files_that_are_no_programs() {
        assert_eq!(Elf::parse(b""), None);
        assert_eq!(Elf::parse(b"#!/bin/sh\n"), None);
        assert_eq!(Elf::parse(b"\x7fELF"), None);
        assert_eq!(Elf::parse(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"), None);
    }
}
