//! What an error of the server, or the loss of its connection, means for the call.

use call_protocol::ErrorCode;

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// The call cannot go on.
    End,
    /// Connect again.
    Retry,
    /// Take a new seat over the same connection.
    JoinAnew,
    /// Note it and go on.
    Note,
}

/// Whether one has a seat when the error arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    /// Asking for the first one.
    Wanted,
    /// Had one before the connection was lost.
    Lost,
    /// Has one.
    Taken,
}

/// Judges an error. `fatal`: the connection is or will be closed.
pub(crate) fn reaction(code: ErrorCode, seat: Seat, fatal: bool) -> Reaction {
    match (code, seat) {
        (ErrorCode::ResumeFailed, Seat::Wanted | Seat::Lost) if !fatal => Reaction::JoinAnew,
        // Trying again would only take the seat back and forth.
        (ErrorCode::SeatTaken, _) => Reaction::End,
        (ErrorCode::BadVersion | ErrorCode::ServerAddressInvalid, _) => Reaction::End,
        (ErrorCode::Removed | ErrorCode::CallEnded, _) => Reaction::End,
        (ErrorCode::RoomLocked | ErrorCode::NotAdmitted, Seat::Wanted | Seat::Lost) => {
            Reaction::End
        }
        (
            ErrorCode::RoomAuthFailed | ErrorCode::RoomFull | ErrorCode::ServerFull,
            Seat::Wanted | Seat::Lost,
        ) => Reaction::End,
        (ErrorCode::RateLimited, Seat::Wanted) => Reaction::End,
        (_, Seat::Taken) if !fatal => Reaction::Note,
        (
            ErrorCode::ResumeFailed
            | ErrorCode::ServerUnreachable
            | ErrorCode::ServerClosing
            | ErrorCode::TimedOut
            | ErrorCode::TooSlow
            | ErrorCode::RateLimited,
            _,
        ) => Reaction::Retry,
        // The server does not understand us: asking again cannot help.
        (_, Seat::Wanted | Seat::Lost) if !fatal => Reaction::End,
        (_, Seat::Wanted) => Reaction::End,
        _ => Reaction::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_judged_by_code_and_seat() {
        use ErrorCode as E;
        use Reaction as R;
        use Seat as S;
        let cases = [
            (E::ResumeFailed, S::Lost, false, R::JoinAnew),
            (E::ResumeFailed, S::Lost, true, R::Retry),
            (E::SeatTaken, S::Taken, true, R::End),
            (E::BadVersion, S::Wanted, true, R::End),
            (E::RoomAuthFailed, S::Wanted, false, R::End),
            (E::RoomFull, S::Wanted, false, R::End),
            (E::RoomFull, S::Lost, false, R::End),
            (E::ServerFull, S::Wanted, true, R::End),
            (E::RateLimited, S::Wanted, true, R::End),
            (E::RateLimited, S::Lost, true, R::Retry),
            (E::RateLimited, S::Taken, false, R::Note),
            (E::Removed, S::Taken, true, R::End),
            (E::Removed, S::Lost, false, R::End),
            (E::CallEnded, S::Taken, true, R::End),
            (E::CallEnded, S::Lost, false, R::End),
            (E::RoomLocked, S::Wanted, false, R::End),
            (E::RoomLocked, S::Lost, false, R::End),
            (E::NotAdmitted, S::Wanted, false, R::End),
            (E::NotHost, S::Taken, false, R::Note),
            (E::RoomFull, S::Taken, false, R::Note),
            (E::UnknownMember, S::Taken, false, R::Note),
            (E::NotSupported, S::Taken, false, R::Note),
            (E::MessageTooLarge, S::Taken, true, R::Retry),
            (E::ServerClosing, S::Taken, true, R::Retry),
            (E::ServerClosing, S::Wanted, true, R::Retry),
            (E::ServerUnreachable, S::Wanted, true, R::Retry),
            (E::TimedOut, S::Lost, true, R::Retry),
            (E::BadMessage, S::Wanted, false, R::End),
            (E::BadMessage, S::Wanted, true, R::End),
            (E::BadMessage, S::Lost, true, R::Retry),
        ];
        for (code, seat, fatal, want) in cases {
            assert_eq!(
                reaction(code, seat, fatal),
                want,
                "{code:?} {seat:?} fatal={fatal}"
            );
        }
    }
}
