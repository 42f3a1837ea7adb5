//! errno numbers: names, words, and the numbers of other architectures.
//!
//! A number means one error on one architecture only: 111 is ECONNREFUSED on x86-64 and ENODATA on
//! sparc. A stub sends the numbers of its own kernel. This side turns each into this host's number
//! for the same error before a caller sees it ([`translate`]). The numbers inside a datagram
//! (`NLMSG_ERROR`, `NLMSG_DONE`) stay as the far kernel wrote them.
//!
//! The constants are this host's numbers. The table is that of Linux: `asm-generic/errno-base.h` and
//! `asm-generic/errno.h`, and `arch/{mips,sparc,alpha,parisc,powerpc}/include/uapi/asm/errno.h`.

#![forbid(unsafe_code)]

use std::io;

/// Which of the kernel's tables an architecture uses: a column of [`TABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
enum Numbering {
    Generic,
    Mips,
    Sparc,
    Alpha,
    Parisc,
    Powerpc,
}

impl Numbering {
    /// The numbering of this host. Rust has no target for alpha or parisc.
    const HERE: Self = if cfg!(any(
        target_arch = "mips",
        target_arch = "mips32r6",
        target_arch = "mips64",
        target_arch = "mips64r6"
    )) {
        Self::Mips
    } else if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) {
        Self::Sparc
    } else if cfg!(any(target_arch = "powerpc", target_arch = "powerpc64")) {
        Self::Powerpc
    } else {
        Self::Generic
    };

    /// The numbering of an architecture, as `uname -m` names it.
    fn of(architecture: &str) -> Self {
        const PREFIXES: [(&str, Numbering); 6] = [
            ("mips", Numbering::Mips),
            ("sparc", Numbering::Sparc),
            ("alpha", Numbering::Alpha),
            ("parisc", Numbering::Parisc),
            ("ppc", Numbering::Powerpc),
            ("powerpc", Numbering::Powerpc),
        ];
        let found = PREFIXES.iter().find(|(prefix, _)| architecture.starts_with(prefix));
        found.map_or(Self::Generic, |(_, numbering)| *numbering)
    }

    /// The number in a row of [`TABLE`]. A short row repeats its first number.
    const fn number(self, row: &[i32]) -> i32 {
        let column = if (self as usize) < row.len() { self as usize } else { 0 };
        #[allow(clippy::indexing_slicing, reason = "`get` is no const fn; a row is never empty")]
        row[column]
    }

    fn name(self, number: i32) -> Option<&'static str> {
        let mut rows = TABLE.iter();
        rows.find(|(_, row)| self.number(row) == number).map(|(name, _)| *name)
    }
}

/// Declares each error once: its name and its numbers on generic, mips, sparc, alpha, parisc and
/// powerpc, cut where the rest is the first number.
macro_rules! errors {
    ($($name:ident = $($number:literal)+;)*) => {
        /// The names, and for each the numbers by [`Numbering`]. Where two names have one number,
        /// the first is the one to show.
        const TABLE: &[(&str, &[i32])] = &[$((stringify!($name), &[$($number),+])),*];

        $(
            #[doc = concat!("`", stringify!($name), "`, as this host numbers it.")]
            pub const $name: i32 = Numbering::HERE.number(&[$($number),+]);
        )*
    };
}

errors! {
    EPERM = 1;
    ENOENT = 2;
    ESRCH = 3;
    EINTR = 4;
    EIO = 5;
    ENXIO = 6;
    E2BIG = 7;
    ENOEXEC = 8;
    EBADF = 9;
    ECHILD = 10;
    EAGAIN = 11 11 11 35 11;
    ENOMEM = 12;
    EACCES = 13;
    EFAULT = 14;
    ENOTBLK = 15;
    EBUSY = 16;
    EEXIST = 17;
    EXDEV = 18;
    ENODEV = 19;
    ENOTDIR = 20;
    EISDIR = 21;
    EINVAL = 22;
    ENFILE = 23;
    EMFILE = 24;
    ENOTTY = 25;
    ETXTBSY = 26;
    EFBIG = 27;
    ENOSPC = 28;
    ESPIPE = 29;
    EROFS = 30;
    EMLINK = 31;
    EPIPE = 32;
    EDOM = 33;
    ERANGE = 34;
    EDEADLK = 35 45 78 11 45;
    EDEADLOCK = 35 56 108 11 45 58;
    ENAMETOOLONG = 36 78 63 63 248;
    ENOLCK = 37 46 79 77 46;
    ENOSYS = 38 89 90 78 251;
    ENOTEMPTY = 39 93 66 66 247;
    ELOOP = 40 90 62 62 249;
    ENOMSG = 42 35 75 80 35;
    EIDRM = 43 36 77 81 36;
    ECHRNG = 44 37 94 88 37;
    EL2NSYNC = 45 38 95 89 38;
    EL3HLT = 46 39 96 90 39;
    EL3RST = 47 40 97 91 40;
    ELNRNG = 48 41 98 93 41;
    EUNATCH = 49 42 99 94 42;
    ENOCSI = 50 43 100 95 43;
    EL2HLT = 51 44 101 96 44;
    EBADE = 52 50 102 97 160;
    EBADR = 53 51 103 98 161;
    EXFULL = 54 52 104 99 162;
    ENOANO = 55 53 105 100 163;
    EBADRQC = 56 54 106 101 164;
    EBADSLT = 57 55 107 102 165;
    EBFONT = 59 59 109 104 166;
    ENOSTR = 60 60 72 87 54;
    ENODATA = 61 61 111 86 51;
    ETIME = 62 62 73 83 52;
    ENOSR = 63 63 74 82 53;
    ENONET = 64 64 80 105 50;
    ENOPKG = 65 65 113 92 55;
    EREMOTE = 66 66 71 71 71;
    ENOLINK = 67 67 82 106 57;
    EADV = 68 68 83 107 58;
    ESRMNT = 69 69 84 108 59;
    ECOMM = 70 70 85 109 60;
    EPROTO = 71 71 86 85 61;
    EMULTIHOP = 72 74 87 110 64;
    EDOTDOT = 73 73 88 111 66;
    EBADMSG = 74 77 76 84 67;
    EOVERFLOW = 75 79 92 112 72;
    ENOTUNIQ = 76 80 115 113 167;
    EBADFD = 77 81 93 114 168;
    EREMCHG = 78 82 89 115 169;
    ELIBACC = 79 83 114 122 170;
    ELIBBAD = 80 84 112 123 171;
    ELIBSCN = 81 85 124 124 172;
    ELIBMAX = 82 86 123 125 173;
    ELIBEXEC = 83 87 110 126 174;
    EILSEQ = 84 88 122 116 47;
    ERESTART = 85 91 116 127 175;
    ESTRPIPE = 86 92 91 128 176;
    EUSERS = 87 94 68 68 68;
    ENOTSOCK = 88 95 38 38 216;
    EDESTADDRREQ = 89 96 39 39 217;
    EMSGSIZE = 90 97 40 40 218;
    EPROTOTYPE = 91 98 41 41 219;
    ENOPROTOOPT = 92 99 42 42 220;
    EPROTONOSUPPORT = 93 120 43 43 221;
    ESOCKTNOSUPPORT = 94 121 44 44 222;
    EOPNOTSUPP = 95 122 45 45 223;
    EPFNOSUPPORT = 96 123 46 46 224;
    EAFNOSUPPORT = 97 124 47 47 225;
    EADDRINUSE = 98 125 48 48 226;
    EADDRNOTAVAIL = 99 126 49 49 227;
    ENETDOWN = 100 127 50 50 228;
    ENETUNREACH = 101 128 51 51 229;
    ENETRESET = 102 129 52 52 230;
    ECONNABORTED = 103 130 53 53 231;
    ECONNRESET = 104 131 54 54 232;
    ENOBUFS = 105 132 55 55 233;
    EISCONN = 106 133 56 56 234;
    ENOTCONN = 107 134 57 57 235;
    ESHUTDOWN = 108 143 58 58 236;
    ETOOMANYREFS = 109 144 59 59 237;
    ETIMEDOUT = 110 145 60 60 238;
    ECONNREFUSED = 111 146 61 61 239;
    EHOSTDOWN = 112 147 64 64 241;
    EHOSTUNREACH = 113 148 65 65 242;
    EALREADY = 114 149 37 37 244;
    EINPROGRESS = 115 150 36 36 245;
    ESTALE = 116 151 70 70 70;
    EUCLEAN = 117 135 117 117 177;
    ENOTNAM = 118 137 118 118 178;
    ENAVAIL = 119 138 119 119 179;
    EISNAM = 120 139 120 120 180;
    EREMOTEIO = 121 140 121 121 181;
    EDQUOT = 122 1133 69 69 69;
    ENOMEDIUM = 123 159 125 129 182;
    EMEDIUMTYPE = 124 160 126 130 183;
    ECANCELED = 125 158 127 131 253;
    ENOKEY = 126 161 128 132 184;
    EKEYEXPIRED = 127 162 129 133 185;
    EKEYREVOKED = 128 163 130 134 186;
    EKEYREJECTED = 129 164 131 135 187;
    EOWNERDEAD = 130 165 132 136 254;
    ENOTRECOVERABLE = 131 166 133 137 255;
    ERFKILL = 132 167 134 138 256;
    EHWPOISON = 133 168 135 139 257;
    // The kernel's own (`linux/errno.h`), which some of its netlink families let out all the same.
    ENOTSUPP = 524;
}

/// The name of one of this host's numbers, such as `ENOENT`; `None` for a number without a name.
pub fn name(errno: i32) -> Option<&'static str> {
    Numbering::HERE.name(errno)
}

/// The system's words for one of this host's numbers, such as `No such file or directory`, without
/// the number that std appends.
pub fn describe(errno: i32) -> String {
    match errno {
        // libc has no words for it.
        ENOTSUPP => "Operation is not supported (ENOTSUPP)".to_owned(),
        _ => words(&io::Error::from_raw_os_error(errno)),
    }
}

/// The words of an I/O error, without the number that std appends: "(os error 2)" adds nothing for
/// a reader.
pub fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// This host's number for the error that has the number `errno` on an architecture, which is given
/// as `uname -m` names it ([`HostInfo::architecture`]).
///
/// A number without a name there stays as it is, unless this host calls another error by it: then
/// the result is [`EREMOTEIO`], because a wrong name would mislead.
///
/// ```
/// use netlink_remote::errno::{ETIMEDOUT, translate};
///
/// assert_eq!(translate(145, "mips"), ETIMEDOUT);
/// assert_eq!(translate(238, "parisc64"), ETIMEDOUT);
/// ```
///
/// [`HostInfo::architecture`]: crate::client::HostInfo::architecture
pub fn translate(errno: i32, architecture: &str) -> i32 {
    between(Numbering::of(architecture), Numbering::HERE, errno)
}

fn between(from: Numbering, to: Numbering, errno: i32) -> i32 {
    if from == to || errno == 0 {
        return errno;
    }
    match TABLE.iter().find(|(_, row)| from.number(row) == errno) {
        Some((_, row)) => to.number(row),
        None if to.name(errno).is_none() => errno,
        None => EREMOTEIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From each architecture's header: numbers that a netlink user meets, and the odd ones.
    const VECTORS: [(&str, &[(i32, i32)]); 5] = [
        (
            "mips64",
            &[
                (97, EMSGSIZE),
                (120, EPROTONOSUPPORT),
                (122, EOPNOTSUPP),
                (131, ECONNRESET),
                (132, ENOBUFS),
                (145, ETIMEDOUT),
                (146, ECONNREFUSED),
                (128, ENETUNREACH),
                (56, EDEADLK),
                (1133, EDQUOT),
            ],
        ),
        (
            "sparc64",
            &[
                (40, EMSGSIZE),
                (43, EPROTONOSUPPORT),
                (45, EOPNOTSUPP),
                (54, ECONNRESET),
                (55, ENOBUFS),
                (60, ETIMEDOUT),
                (61, ECONNREFUSED),
                (111, ENODATA),
                (108, EDEADLK),
                (124, ELIBSCN),
            ],
        ),
        (
            "alpha",
            &[
                (11, EDEADLK),
                (35, EAGAIN),
                (40, EMSGSIZE),
                (45, EOPNOTSUPP),
                (55, ENOBUFS),
                (60, ETIMEDOUT),
                (86, ENODATA),
                (126, ELIBEXEC),
                (139, EHWPOISON),
            ],
        ),
        (
            "parisc64",
            &[
                (218, EMSGSIZE),
                (221, EPROTONOSUPPORT),
                (223, EOPNOTSUPP),
                (232, ECONNRESET),
                (233, ENOBUFS),
                (238, ETIMEDOUT),
                (251, ENOSYS),
                (51, ENODATA),
                (257, EHWPOISON),
            ],
        ),
        ("ppc64le", &[(58, EDEADLK), (35, EDEADLK), (90, EMSGSIZE), (110, ETIMEDOUT)]),
    ];

    #[test]
    fn far_numbers_become_those_of_this_host() {
        for (architecture, numbers) in VECTORS {
            for &(far, here) in numbers {
                assert_eq!(translate(far, architecture), here, "{architecture} {far}");
            }
            for same in [0, EPERM, ENOENT, EINVAL, EBUSY, ERANGE, ENOTSUPP] {
                assert_eq!(translate(same, architecture), same, "{architecture}");
            }
        }
        for architecture in ["x86_64", "aarch64", "riscv64", "armv7l", "s390x", "", "unheard of"] {
            for number in [0, 1, 11, 90, 110, 524, -1, i32::MIN] {
                assert_eq!(translate(number, architecture), number);
            }
        }
    }

    #[test]
    fn there_and_back_is_the_same_error() {
        let all = [
            Numbering::Generic,
            Numbering::Mips,
            Numbering::Sparc,
            Numbering::Alpha,
            Numbering::Parisc,
            Numbering::Powerpc,
        ];
        for (from, to) in all.iter().flat_map(|from| all.map(|to| (*from, to))) {
            for (name, row) in TABLE {
                let there = between(from, to, from.number(row));
                // EDEADLOCK is another name of EDEADLK on some of them.
                let expected = if *name == "EDEADLOCK" { "EDEADLK" } else { name };
                let found = to.name(there).unwrap();
                assert!([*name, expected].contains(&found), "{name} {from:?} {to:?}: {found}");
            }
        }
    }

    #[test]
    fn a_number_without_a_counterpart_is_no_other_error() {
        // 103 is nothing on alpha, and ECONNABORTED on most; 67 is EPROCLIM on sparc alone.
        assert_eq!(translate(103, "alpha"), EREMOTEIO);
        assert_eq!(translate(67, "sparc"), EREMOTEIO);
        assert_eq!(translate(4000, "mips"), 4000);
        assert_eq!(translate(-5, "mips"), -5);
    }

    #[test]
    fn names_and_words() {
        assert_eq!(
            (name(ENOENT), name(EAGAIN), name(EDEADLK)),
            (Some("ENOENT"), Some("EAGAIN"), Some("EDEADLK"))
        );
        assert_eq!((name(0), name(-1), name(4000)), (None, None, None));
        assert_eq!(describe(ENOENT), "No such file or directory");
        assert!(describe(ENOTSUPP).contains("not supported"));
        assert_eq!(words(&io::Error::other("plain")), "plain");
    }

    #[cfg(feature = "stub")]
    #[test]
    fn the_table_is_this_hosts() {
        for (name, row) in
            TABLE.iter().filter(|(name, _)| !["EDEADLOCK", "ENOTSUPP"].contains(name))
        {
            let number = Numbering::HERE.number(row);
            assert_eq!(format!("{:?}", nix::errno::Errno::from_raw(number)), *name);
        }
    }
}
