//! `serve --install` and `ca trust` where they matter: on a machine with a running systemd, made by
//! `scripts/testbed/start-systemd.sh`. What the documentation says to type is typed there.
#![expect(clippy::unwrap_used, reason = "a failed assumption fails the test")]
#![expect(clippy::print_stderr, reason = "a skipped test says why")]

mod bed;
mod engines;
mod install;
mod life;
mod load;
mod node;
mod trust;
mod upgrade;
