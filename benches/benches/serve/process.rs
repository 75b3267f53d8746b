//! A server as a process of its own on a core of its own, and what it costs.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// The core that makes the load.
pub(crate) const LOAD_CORE: usize = 0;

/// The core that answers it.
pub(crate) const SERVER_CORE: usize = 1;

/// Ticks of a second that Linux counts processor time in, on every machine that it tells
/// programs of.
const TICKS: u64 = 100;

/// The token of every server's admin surface here.
pub(crate) const TOKEN: &str = "a-token-of-a-bench-0123456789";

/// A server that runs; killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
}

impl Running {
    /// Starts `program` on the server's core and waits until it listens.
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> io::Result<Self> {
        let mut child = pinned(program, SERVER_CORE)
            .args(arguments)
            .env("TROMMEL_ADMIN_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().expect("it is piped");
        let mut lines = BufReader::new(stderr).lines();
        let (mut said, mut address, mut admin) = (String::new(), None, None);
        let wants_admin = arguments.contains(&"--admin");
        while address.is_none() || (wants_admin && admin.is_none()) {
            let Some(line) = lines.next().transpose()? else {
                let status = child.wait()?;
                return Err(io::Error::other(format!(
                    "{} ended before it listened ({status}): {said}",
                    program.display()
                )));
            };
            match listens(&line) {
                Some((at, "listen")) => address = Some(at),
                Some((at, "admin")) => admin = Some(at),
                _ => {
                    said.push_str(&line);
                    said.push('\n');
                }
            }
        }
        let address = address.expect("the loop waits for it");
        // Read on, or the server would wait for room in the pipe once it has much to say.
        let show = std::env::var_os("TROMMEL_BENCH_LOG").is_some();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if show {
                    #[expect(clippy::print_stderr, reason = "who asked for the log reads it")]
                    {
                        eprintln!("  server: {line}");
                    }
                }
            }
        });
        Ok(Self {
            child,
            address,
            admin,
        })
    }

    /// Processor time of all its threads so far, in user and kernel.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name may hold anything, in parentheses; utime and stime are the 14th and 15th.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut fields = rest.split_whitespace().skip(11);
        let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok());
        match (ticks(), ticks()) {
            (Some(user), Some(kernel)) => Ok(Duration::from_millis((user + kernel) * 1000 / TICKS)),
            _ => Err(io::Error::other(format!("no times in `{stat}`"))),
        }
    }

    /// Bytes of memory that it holds now.
    pub(crate) fn memory(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.map(|kib| kib << 10)
            .ok_or_else(|| io::Error::other("no VmRSS in its status"))
    }

    /// Bytes that it has mapped to be run, its own program and the code of guests.
    pub(crate) fn code(&self) -> io::Result<u64> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.child.id()))?;
        let runs = maps.lines().filter_map(|line| {
            let mut fields = line.split(' ');
            let (from, to) = fields.next()?.split_once('-')?;
            let is_run = fields.next()?.as_bytes().get(2) == Some(&b'x');
            let address = |digits| u64::from_str_radix(digits, 16).ok();
            is_run
                .then(|| Some(address(to)? - address(from)?))
                .flatten()
        });
        Ok(runs.sum())
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as `kill -9` does, and waits until it has.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}

/// The address and the name of the surface, in a line that tells them.
fn listens(line: &str) -> Option<(SocketAddr, &str)> {
    let (address, name) = line.strip_prefix("listening on http://")?.split_once(' ')?;
    let name = name.strip_prefix('(')?.strip_suffix(')')?;
    Some((address.parse().ok()?, name))
}

/// `program`, to run on one core.
pub(crate) fn pinned(program: &Path, core: usize) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &of_those_there(core).to_string()]);
    command.arg(program);
    command
}

/// Spins on the server's core whenever no other process wants it; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Spinner(Child);

impl Spinner {
    pub(crate) fn start() -> io::Result<Self> {
        let mut command = pinned(Path::new("chrt"), SERVER_CORE);
        command.args(["--idle", "0"]);
        command.arg(std::env::current_exe()?).arg(SPIN);
        Ok(Self(command.stdin(Stdio::null()).spawn()?))
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// The argument that makes this program spin.
pub(crate) const SPIN: &str = "spin";

/// Goes on until it is killed.
pub(crate) fn spin() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// Keeps this process to the load's core. Not before all others there: the kernel's own
/// threads, which bring answers, would wait for it.
pub(crate) fn pin_myself() -> io::Result<()> {
    let pid = std::process::id().to_string();
    let core = of_those_there(LOAD_CORE).to_string();
    let pinned = Command::new("taskset")
        .args(["-acp", &core, &pid])
        .stdout(Stdio::null())
        .status()?;
    match pinned.success() {
        true => Ok(()),
        false => Err(io::Error::other("taskset cannot pin this process")),
    }
}

/// How long this process's one busy thread has waited for its core so far, because others
/// were on it: latencies that were measured meanwhile are partly theirs.
pub(crate) fn waited() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/self/schedstat")?;
    let nanos = text.split(' ').nth(1).and_then(|field| field.parse().ok());
    let nanos = nanos.ok_or_else(|| io::Error::other("no waiting time in schedstat"))?;
    Ok(Duration::from_nanos(nanos))
}

/// How many cores the machine has; asked before this process is pinned.
pub(crate) fn n_cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// On a machine with one core both share it.
fn of_those_there(core: usize) -> usize {
    core.min(n_cores() - 1)
}

/// `trommel`, built beside this program.
pub(crate) fn trommel() -> io::Result<PathBuf> {
    if let Some(program) = std::env::var_os("TROMMEL_BENCH_SERVER") {
        return Ok(program.into());
    }
    let mine = std::env::current_exe()?;
    let program = mine
        .ancestors()
        .skip(1)
        .map(|folder| folder.join("trommel"))
        .find(|program| program.is_file());
    program.ok_or_else(|| {
        io::Error::other("no `trommel` beside this bench: `cargo build --release --workspace` makes it, or TROMMEL_BENCH_SERVER names one")
    })
}

/// Does nothing for so long.
#[expect(
    clippy::disallowed_methods,
    reason = "what is awaited is another process"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
