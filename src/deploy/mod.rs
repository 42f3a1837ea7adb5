//! Brings a stub to where there is none, over any byte stream with a POSIX shell behind it.
