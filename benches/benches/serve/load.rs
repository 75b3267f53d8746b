//! The load: requests at moments that are fixed before the first is sent, over connections
//! that are kept, from one thread.
//!
//! An answer's latency counts from the moment at which its request was due, whether or not
//! it could be sent then: else a server that stalls would be asked less and look better.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::arrivals::{Arrivals, Pacer};
use crate::http::{self, Answer};

/// How long answers are waited for after the last request was due.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often whoever watches is told the time.
const TICK: Duration = Duration::from_millis(100);

/// The token of the connection beside the load.
const BESIDE: Token = Token(usize::MAX - 1);

/// The token of the moment at which the next request is due.
const DUE: Token = Token(usize::MAX - 2);

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// So many a second, with gaps as chance has them (exponential, from a fixed seed),
    /// whether or not answers come.
    Open(f64),
    /// One on each connection, and the next when its answer is there.
    Closed,
}

/// What is sent where, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) address: SocketAddr,
    /// Whole requests, sent in turn.
    pub(crate) requests: &'a [Vec<u8>],
    pub(crate) pace: Pace,
    pub(crate) time: Duration,
    pub(crate) n_connections: usize,
    /// Other seeds have other gaps.
    pub(crate) seed: u64,
    /// Never sleeps: else the server pays for waking it with each answer, as it would not
    /// for a client on another machine. Where others are on the core it is held up more.
    pub(crate) is_awake: bool,
}

/// One request and what came of it. Times count from the start of the load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// Which of the load's requests.
    pub(crate) request: usize,
    pub(crate) due: Duration,
    pub(crate) sent: Duration,
    pub(crate) done: Duration,
    /// None when no whole answer came.
    pub(crate) status: Option<u16>,
}

impl Sample {
    /// From the moment that it was due.
    pub(crate) fn latency(&self) -> Duration {
        self.done.saturating_sub(self.due)
    }
}

/// Whoever looks at the answers, and may send requests of its own beside the load.
pub(crate) trait Watch {
    /// An answer has come, or none will.
    fn answered(&mut self, _sample: &Sample, _answer: Option<&Answer<'_>>) {}

    /// Now and then.
    fn tick(&mut self, _now: Duration) {}

    /// The next request beside the load, once its time has come and the one before it was
    /// answered.
    fn beside(&mut self, _now: Duration) -> Option<Vec<u8>> {
        None
    }

    /// What the last request beside the load got.
    fn beside_answered(&mut self, _sent: Duration, _done: Duration, _answer: &Answer<'_>) {}

    /// Where requests beside the load go.
    fn beside_address(&self) -> Option<SocketAddr> {
        None
    }

    /// Whether nothing more is to be sent.
    fn is_done(&self) -> bool {
        false
    }
}

/// Looks at nothing.
pub(crate) struct Nobody;

impl Watch for Nobody {}

/// What came of a load.
#[derive(Debug)]
pub(crate) struct Driven {
    /// Each request that was sent.
    pub(crate) samples: Vec<Sample>,
    /// Requests that no connection was free for until nothing was waited for any more.
    pub(crate) n_unsent: usize,
}

/// Sends it all, and tells what came of each.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
pub(crate) fn drive(load: &Load<'_>, watch: &mut dyn Watch) -> io::Result<Driven> {
    let rate = match load.pace {
        Pace::Open(rate) => Some(rate),
        Pace::Closed => None,
    };
    let arrivals = rate.map(|rate| Arrivals::new(rate, load.seed));
    let mut driver = Driver {
        load: *load,
        poll: Poll::new()?,
        connections: Vec::new(),
        idle: Vec::new(),
        beside: None,
        arrivals: arrivals.clone(),
        backlog: VecDeque::new(),
        n_sent: 0,
        start: Instant::now(),
        samples: Vec::new(),
    };
    for nth in 0..load.n_connections {
        let connection = driver.connect(Token(nth), load.address)?;
        driver.connections.push(connection);
        driver.idle.push(nth);
    }
    if let Some(address) = watch.beside_address() {
        driver.beside = Some(driver.connect(BESIDE, address)?);
    }
    driver.start = Instant::now();
    let waker = Waker::new(driver.poll.registry(), DUE)?;
    let paced = arrivals.filter(|_| !load.is_awake);
    let pacer = paced.map(|arrivals| Pacer::start(arrivals, driver.start, load.time, waker));
    let pacer = pacer.transpose()?;
    driver.run(watch)?;
    drop(pacer);
    Ok(Driven {
        n_unsent: driver.backlog.len(),
        samples: driver.samples,
    })
}

struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    /// What is still to be written.
    out: VecDeque<u8>,
    read: Vec<u8>,
    flight: Option<Flight>,
}

#[derive(Clone, Copy)]
struct Flight {
    request: usize,
    due: Duration,
    sent: Duration,
}

struct Driver<'a> {
    load: Load<'a>,
    poll: Poll,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    beside: Option<Connection>,
    arrivals: Option<Arrivals>,
    /// Moments whose requests no connection was free for.
    backlog: VecDeque<Duration>,
    n_sent: usize,
    start: Instant,
    samples: Vec<Sample>,
}

impl Driver<'_> {
    fn connect(&self, token: Token, address: SocketAddr) -> io::Result<Connection> {
        // Connected before it is polled, so that no request waits for a handshake.
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, token, interest)?;
        Ok(Connection {
            stream,
            address,
            out: VecDeque::new(),
            read: Vec::new(),
            flight: None,
        })
    }

    fn run(&mut self, watch: &mut dyn Watch) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let (mut told, mut end) = (Duration::ZERO, self.load.time);
        loop {
            let now = self.start.elapsed();
            if now >= told {
                watch.tick(now);
                told = now + TICK;
            }
            if watch.is_done() {
                end = end.min(now);
            }
            self.send_due(now, end)?;
            let is_beside_busy = self.send_beside(watch, now, end)?;
            let n_in_flight = self.connections.len() - self.idle.len();
            let is_over = now >= end && self.backlog.is_empty();
            if is_over && !is_beside_busy && n_in_flight == 0 {
                return Ok(());
            }
            if now >= end + PATIENCE {
                self.give_up(watch, now);
                return Ok(());
            }
            let most = match self.beside {
                _ if self.load.is_awake => Duration::ZERO,
                Some(_) => Duration::from_millis(1),
                None => Duration::from_millis(20),
            };
            match self.poll.poll(&mut events, Some(most)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                match event.token() {
                    DUE => {}
                    BESIDE => self.hear_beside(watch)?,
                    Token(nth) => self.hear(nth, watch)?,
                }
            }
        }
    }

    fn send_due(&mut self, now: Duration, end: Duration) -> io::Result<()> {
        while let Some(due) = self.arrivals.as_mut().and_then(|next| next.take(now)) {
            if due < end {
                self.backlog.push_back(due);
            }
        }
        if self.load.pace == Pace::Closed && now < end {
            self.backlog.resize(self.idle.len(), now);
        }
        while let (Some(_), Some(nth)) = (self.backlog.front(), self.idle.last()) {
            let nth = *nth;
            let due = self.backlog.pop_front().expect("looked at above");
            self.idle.pop();
            let request = self.n_sent % self.load.requests.len();
            self.n_sent += 1;
            let connection = &mut self.connections[nth];
            connection.flight = Some(Flight {
                request,
                due,
                sent: self.start.elapsed(),
            });
            let requests = self.load.requests;
            // What cannot be written is found out when nothing can be read.
            connection.send(&requests[request])?;
        }
        Ok(())
    }

    /// Whether a request beside the load waits for its answer.
    fn send_beside(
        &mut self,
        watch: &mut dyn Watch,
        now: Duration,
        end: Duration,
    ) -> io::Result<bool> {
        let Some(beside) = &mut self.beside else {
            return Ok(false);
        };
        if beside.flight.is_none()
            && now < end
            && let Some(request) = watch.beside(now)
        {
            beside.flight = Some(Flight {
                request: 0,
                due: now,
                sent: self.start.elapsed(),
            });
            beside.send(&request)?;
        }
        Ok(beside.flight.is_some())
    }

    fn hear(&mut self, nth: usize, watch: &mut dyn Watch) -> io::Result<()> {
        let connection = &mut self.connections[nth];
        let is_open = connection.hear();
        let done = self.start.elapsed();
        let mut ends = !is_open;
        while let Some(flight) = connection.flight {
            let sample = |status| Sample {
                request: flight.request,
                due: flight.due,
                sent: flight.sent,
                done,
                status,
            };
            match http::answer(&connection.read) {
                Ok(Some(answer)) => {
                    let sample = sample(Some(answer.status));
                    watch.answered(&sample, Some(&answer));
                    ends |= answer.closes;
                    let n_bytes = answer.n_bytes;
                    self.samples.push(sample);
                    connection.read.drain(..n_bytes);
                }
                Ok(None) if !ends => return Ok(()),
                _ => {
                    let sample = sample(None);
                    watch.answered(&sample, None);
                    self.samples.push(sample);
                    ends = true;
                }
            }
            connection.flight = None;
            self.idle.push(nth);
        }
        if ends {
            let address = connection.address;
            self.connections[nth] = self.connect(Token(nth), address)?;
        }
        Ok(())
    }

    fn hear_beside(&mut self, watch: &mut dyn Watch) -> io::Result<()> {
        let Some(beside) = &mut self.beside else {
            return Ok(());
        };
        let is_open = beside.hear();
        let done = self.start.elapsed();
        if let (Some(flight), Ok(Some(answer))) = (beside.flight, http::answer(&beside.read)) {
            watch.beside_answered(flight.sent, done, &answer);
            let n_bytes = answer.n_bytes;
            beside.read.drain(..n_bytes);
            beside.flight = None;
        }
        match is_open {
            true => Ok(()),
            false => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    /// Counts what was sent and got no answer.
    fn give_up(&mut self, watch: &mut dyn Watch, now: Duration) {
        for flight in self.connections.iter().filter_map(|one| one.flight) {
            let sample = Sample {
                request: flight.request,
                due: flight.due,
                sent: flight.sent,
                done: now,
                status: None,
            };
            watch.answered(&sample, None);
            self.samples.push(sample);
        }
    }
}

impl Connection {
    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.out.extend(request);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.write(self.out.as_slices().0) {
                Ok(n) => drop(self.out.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The server has closed it; that is seen when nothing can be read.
                Err(error) if is_closed(&error) => self.out.clear(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there. Whether more may come.
    fn hear(&mut self) -> bool {
        if self.flush().is_err() {
            return false;
        }
        let mut bytes = [0; 16 << 10];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(n) => self.read.extend_from_slice(&bytes[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}
