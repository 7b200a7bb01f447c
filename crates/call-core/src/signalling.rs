//! The connection to the server during one call: connect, greet, join, and come back.
//!
//! ```text
//! Waiting ──► Opening ──► Greeting ──► Joining ──► Joined
//!    ▲           │            │           │  ▲        │
//!    │           │            │           ▼  │        │
//!    │           │            │         Knocking      │
//!    └───────────┴── lost ────┴───────────┴───────────┘
//! ```
//!
//! Before the first seat only a few tries are made, since a person waits; after it, connecting is
//! tried for as long as the call lasts, since media goes on without the server.
//!
//! A connection may be dead without anybody having noticed. Where something else speaks for that (a
//! path to a member died), it is *doubted*: the server is asked for a sign of life, and until that
//! comes nothing is begun that needs signals.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use call_protocol::ErrorCode;
use call_protocol::wire::{ClientMessage, PROTOCOL_VERSION};

use crate::backoff::reconnect_delay;
use crate::context::Ctx;
use crate::input::SocketId;
use crate::output::{Output, Reason, SocketOp};
use crate::refusal::{Reaction, Seat, reaction};

/// Time from connecting to a seat. A TLS handshake over a bad mobile network takes a few seconds.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Tries before the first seat.
const FIRST_TRIES: u32 = 3;
/// A seat held for less counts as a failed try, so that a server that drops everybody at once is
/// not stormed.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// How long a doubted connection has for a sign of life. A repeated packet on a mobile network takes
/// over a second; raising it delays the next connection after a change of networks nobody saw.
const DOUBT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long after an address there is a route from it, and nobody is reached without. Lower makes the first
/// try fail, and the next one waits for longer than this.
const ROUTE_AFTER_ADDRESS: Duration = Duration::from_millis(50);

/// The connection to the server.
#[derive(Debug)]
pub(crate) struct Signalling {
    url: String,
    state: State,
    /// Connects since the last stable seat.
    tries: u32,
    had_seat: bool,
    /// Until when a sign of life must have come.
    doubted_until: Option<Instant>,
    /// Takes the same seat again.
    pub(crate) resume: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting {
        until: Instant,
    },
    Opening {
        socket: SocketId,
        deadline: Instant,
    },
    Greeting {
        socket: SocketId,
        deadline: Instant,
    },
    Joining {
        socket: SocketId,
        deadline: Instant,
    },
    /// Somebody must let one in.
    Knocking {
        socket: SocketId,
        since: Instant,
    },
    Joined {
        socket: SocketId,
        since: Instant,
    },
}

/// What became of a connection or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The call cannot go on.
    End(ErrorCode),
    /// The connection is lost and will be made again.
    Lost,
    /// Ask for a new seat now.
    JoinAnew,
    /// Nothing changes.
    Note,
}

impl Signalling {
    /// Connects at the first [`Signalling::handle_timeout`].
    pub(crate) fn new(url: String, now: Instant) -> Self {
        let state = State::Waiting { until: now };
        Self {
            url,
            state,
            tries: 0,
            had_seat: false,
            doubted_until: None,
            resume: None,
        }
    }

    /// The connection there is.
    pub(crate) fn socket(&self) -> Option<SocketId> {
        match self.state {
            State::Waiting { .. } => None,
            State::Opening { socket, .. }
            | State::Greeting { socket, .. }
            | State::Joining { socket, .. }
            | State::Knocking { socket, .. }
            | State::Joined { socket, .. } => Some(socket),
        }
    }

    pub(crate) fn is_joined(&self) -> bool {
        matches!(self.state, State::Joined { .. })
    }

    /// Whether `join` waits for its answer, perhaps for somebody's who lets one in.
    pub(crate) fn is_joining(&self) -> bool {
        matches!(self.state, State::Joining { .. } | State::Knocking { .. })
    }

    /// Which step a failure interrupted, for logs.
    pub(crate) fn step(&self) -> &'static str {
        match self.state {
            State::Waiting { .. } | State::Opening { .. } => "connecting to the server",
            State::Greeting { .. } => "greeting the server",
            State::Joining { .. } => "joining the room",
            State::Knocking { .. } => "waiting to be let in",
            State::Joined { .. } => "in the room",
        }
    }

    pub(crate) fn timeout(&self) -> Option<(Instant, Reason)> {
        match self.state {
            State::Waiting { until } => Some((until, Reason::Reconnect)),
            State::Opening { deadline, .. }
            | State::Greeting { deadline, .. }
            | State::Joining { deadline, .. } => Some((deadline, Reason::Handshake)),
            State::Knocking { .. } => None,
            State::Joined { .. } => self.doubted_until.map(|until| (until, Reason::Doubt)),
        }
    }

    /// Whether signals travel, as far as anybody knows.
    pub(crate) fn is_trusted(&self) -> bool {
        self.is_joined() && self.doubted_until.is_none()
    }

    /// Something speaks for the connection being dead: asks for a sign of life.
    pub(crate) fn doubt(&mut self, ctx: &mut Ctx<'_>) {
        if let State::Joined { socket, .. } = self.state
            && self.doubted_until.is_none()
        {
            self.doubted_until = Some(ctx.now + DOUBT_TIMEOUT);
            ctx.out
                .push_back(Output::Socket(SocketOp::Probe { socket }));
        }
    }

    /// Something came over the connection.
    pub(crate) fn handle_sign_of_life(&mut self) {
        self.doubted_until = None;
    }

    /// The machine's network is another one: whoever waits tries as soon as there is a route.
    pub(crate) fn handle_network(&mut self, now: Instant) {
        if let State::Waiting { until } = &mut self.state {
            *until = now + ROUTE_AFTER_ADDRESS;
            self.tries = 0;
        }
    }

    /// The machine slept: whatever connection there was is a new one sooner than it is proven dead.
    pub(crate) fn handle_woken(&mut self, ctx: &mut Ctx<'_>) -> Outcome {
        self.close(ctx.out);
        self.doubted_until = None;
        self.tries = 0;
        self.state = State::Waiting { until: ctx.now };
        Outcome::Lost
    }

    /// Connects when it is time, and gives up a handshake that takes too long.
    pub(crate) fn handle_timeout(&mut self, ctx: &mut Ctx<'_>) -> Outcome {
        match self.timeout() {
            Some((at, Reason::Reconnect)) if at <= ctx.now => {
                let socket = ctx.ids.socket();
                self.tries = self.tries.saturating_add(1);
                self.state = State::Opening {
                    socket,
                    deadline: ctx.now + HANDSHAKE_TIMEOUT,
                };
                let url = self.url.clone();
                ctx.out
                    .push_back(Output::Socket(SocketOp::Connect { socket, url }));
                Outcome::Note
            }
            Some((at, Reason::Handshake | Reason::Doubt)) if at <= ctx.now => {
                let outcome = self.handle_error(ctx, ErrorCode::ServerUnreachable, true);
                if outcome == Outcome::Lost {
                    // The first attempt after a stable seat is due at once.
                    self.handle_timeout(ctx);
                }
                outcome
            }
            _ => Outcome::Note,
        }
    }

    /// The connection stands: greets.
    pub(crate) fn handle_opened(&mut self, out: &mut VecDeque<Output>) {
        if let State::Opening { socket, deadline } = self.state {
            self.state = State::Greeting { socket, deadline };
            self.send(
                out,
                ClientMessage::Hello {
                    version: PROTOCOL_VERSION,
                },
            );
        }
    }

    /// The server greets back; `Note` means: join now, `None`: out of turn.
    pub(crate) fn handle_hello(&mut self, version: u32) -> Option<Outcome> {
        let State::Greeting { socket, deadline } = self.state else {
            return None;
        };
        if version != PROTOCOL_VERSION {
            return Some(Outcome::End(ErrorCode::BadVersion));
        }
        self.state = State::Joining { socket, deadline };
        Some(Outcome::Note)
    }

    /// Somebody must let one in.
    pub(crate) fn handle_waiting(&mut self, now: Instant) {
        if let State::Joining { socket, .. } = self.state {
            self.state = State::Knocking { socket, since: now };
        }
    }

    /// The seat is taken.
    pub(crate) fn handle_joined(&mut self, now: Instant, resume: String) {
        if let State::Joining { socket, .. } | State::Knocking { socket, .. } = self.state {
            self.state = State::Joined { socket, since: now };
            self.had_seat = true;
            self.resume = Some(resume);
        }
    }

    /// The connection is gone.
    pub(crate) fn handle_closed(&mut self, ctx: &mut Ctx<'_>, code: Option<ErrorCode>) -> Outcome {
        self.fail(ctx, code.unwrap_or(ErrorCode::ServerUnreachable), true)
    }

    /// The server reports an error, or does not answer. A connection that is given up is closed
    /// here rather than left for the server to close.
    pub(crate) fn handle_error(
        &mut self,
        ctx: &mut Ctx<'_>,
        code: ErrorCode,
        fatal: bool,
    ) -> Outcome {
        let socket = self.socket();
        let outcome = self.fail(ctx, code, fatal);
        if let (Outcome::Lost, Some(socket)) = (outcome, socket) {
            ctx.out
                .push_back(Output::Socket(SocketOp::Close { socket }));
        }
        outcome
    }

    fn fail(&mut self, ctx: &mut Ctx<'_>, code: ErrorCode, fatal: bool) -> Outcome {
        let seat = match self.state {
            State::Joined { .. } => Seat::Taken,
            _ if self.had_seat => Seat::Lost,
            _ => Seat::Wanted,
        };
        match reaction(code, seat, fatal) {
            Reaction::End => Outcome::End(code),
            Reaction::Note => Outcome::Note,
            Reaction::JoinAnew => {
                self.resume = None;
                Outcome::JoinAnew
            }
            Reaction::Retry => {
                if code == ErrorCode::ResumeFailed {
                    self.resume = None;
                }
                if let State::Joined { since, .. } | State::Knocking { since, .. } = self.state
                    && ctx.now.duration_since(since) >= STABLE_AFTER
                {
                    self.tries = 0;
                }
                if !self.had_seat && self.tries >= FIRST_TRIES {
                    return Outcome::End(ErrorCode::ServerUnreachable);
                }
                let [jitter] = ctx.seed.draw();
                let until = ctx.now + reconnect_delay(self.tries, jitter);
                self.doubted_until = None;
                self.state = State::Waiting { until };
                Outcome::Lost
            }
        }
    }

    /// Sends over the connection there is.
    pub(crate) fn send(&self, out: &mut VecDeque<Output>, message: ClientMessage) {
        if let Some(socket) = self.socket() {
            out.push_back(Output::Socket(SocketOp::Send { socket, message }));
        }
    }

    /// Closes the connection there is. Closing one that is gone already does no harm.
    pub(crate) fn close(&self, out: &mut VecDeque<Output>) {
        if let Some(socket) = self.socket() {
            out.push_back(Output::Socket(SocketOp::Close { socket }));
        }
    }
}
