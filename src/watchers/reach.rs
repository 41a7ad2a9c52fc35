//! What a connection that was tried says of a witness, and of a published address.

use tidegate_probe::{Failure, Outcome};

use super::sighting::Seen;

/// A witness that refuses has been reached: somebody answered. That we ran out of something ourselves says nothing.
pub(super) fn witness(outcome: &Outcome) -> Option<Seen> {
    match outcome {
        Outcome::Pass | Outcome::Fail(Failure::Refused | Failure::Reset) => Some(Seen::Reached(true)),
        Outcome::Fail(_) => Some(Seen::Reached(false)),
        Outcome::Inconclusive(_) => None,
    }
}

pub(super) fn front_door(outcome: &Outcome) -> Option<Seen> {
    match outcome {
        Outcome::Pass => Some(Seen::FrontDoor(None)),
        Outcome::Fail(failure) => Some(Seen::FrontDoor(Some(failure.to_string().into()))),
        Outcome::Inconclusive(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_probe::{OwnFault, Stage};

    use super::*;

    #[test]
    fn a_witness_is_reached_by_any_answer_and_a_front_door_only_by_the_right_one() {
        let timed_out = Failure::TimedOut { after: Duration::from_secs(1), stage: Stage::Connect };
        let table = [
            (Outcome::Pass, Some(true), Some(true)),
            (Outcome::Fail(Failure::Refused), Some(true), Some(false)),
            (Outcome::Fail(Failure::Reset), Some(true), Some(false)),
            (Outcome::Fail(Failure::Unreachable), Some(false), Some(false)),
            (Outcome::Fail(timed_out), Some(false), Some(false)),
            (Outcome::Inconclusive(OwnFault::OutOfDescriptors), None, None),
        ];
        for (outcome, reached, works) in table {
            assert_eq!(witness(&outcome), reached.map(Seen::Reached), "{outcome:?}");
            let front_door = front_door(&outcome).map(|seen| seen == Seen::FrontDoor(None));
            assert_eq!(front_door, works, "{outcome:?}");
        }
    }
}
