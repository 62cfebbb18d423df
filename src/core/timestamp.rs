//! A moment, or none, in the room of a number: there are very many of them.

use serde::{Deserialize, Serialize};

/// Seconds since the epoch; none is before all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Option<i64>", into = "Option<i64>")]
pub struct Timestamp(i64);

impl Timestamp {
    pub const NONE: Self = Self(i64::MIN);

    #[inline]
    pub fn at(seconds: i64) -> Self {
        Self(seconds)
    }

    #[inline]
    pub fn get(self) -> Option<i64> {
        (self != Self::NONE).then_some(self.0)
    }

    /// What lies later is no later than that.
    #[inline]
    pub fn no_later_than(self, latest: i64) -> Self {
        Self(self.0.min(latest))
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Self::NONE
    }
}

impl From<Option<i64>> for Timestamp {
    fn from(seconds: Option<i64>) -> Self {
        seconds.map_or(Self::NONE, Self)
    }
}

impl From<Timestamp> for Option<i64> {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_the_room_of_a_number_and_none_stays_none() {
        assert_eq!(size_of::<Timestamp>(), size_of::<i64>());
        assert_eq!(Timestamp::from(None).no_later_than(5).get(), None);
        assert_eq!(Timestamp::at(7).no_later_than(5).get(), Some(5));
        assert!(Timestamp::NONE < Timestamp::at(0) && Timestamp::at(0).get() == Some(0));
    }
}
