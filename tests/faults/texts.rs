//! The ends of a connection in the client's words: macros, so that `concat!` takes them.

/// Names literals.
macro_rules! texts {
    ($($name:ident: $text:literal,)*) => {$(
        macro_rules! $name {
            () => {
                $text
            };
        }
    )*};
}

texts! {
    unix: "unix:SOCKET: ",
    docker: "docker container \"web\": ",
    routes: "listing the routes: ",
    killed: "the connection to the stub ended: the far end was killed by signal 9",
    ended: "the connection to the stub ended",
    unanswered: "the far end has not answered for 1s: the network between, or its host, is gone",
    silent: "the stub ended the connection: nothing came from this side for longer than its hello had promised",
    no_docker: "docker did not answer within 10 s; try `docker ps` on that host",
}
