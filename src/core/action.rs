//! What the agent may do to one resource of a pod.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is done to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    Decrease = 0,
    Maintain = 1,
    Increase = 2,
}

impl Action {
    pub const ALL: [Self; 3] = [Self::Decrease, Self::Maintain, Self::Increase];

    pub fn name(self) -> &'static str {
        match self {
            Self::Decrease => "DECREASE",
            Self::Maintain => "MAINTAIN",
            Self::Increase => "INCREASE",
        }
    }

    pub fn index(self) -> usize {
        self as usize
    }

    /// The action with the largest Q value; the milder one when two are equal.
    pub fn greedy(q_values: [f32; 3]) -> Self {
        let [decrease, maintain, increase] = q_values;
        if maintain >= decrease && maintain >= increase {
            Self::Maintain
        } else if increase >= decrease {
            Self::Increase
        } else {
            Self::Decrease
        }
    }

    /// What the limit is multiplied by.
    pub fn factor(self, scale_factor: f64) -> f64 {
        match self {
            Self::Decrease => 1.0 - scale_factor,
            Self::Maintain => 1.0,
            Self::Increase => 1.0 + scale_factor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_largest_and_the_milder_of_equals() {
        assert_eq!(Action::greedy([0.1, 0.2, 0.3]), Action::Increase);
        assert_eq!(Action::greedy([0.4, 0.2, 0.3]), Action::Decrease);
        assert_eq!(Action::greedy([0.3, 0.3, 0.3]), Action::Maintain);
        assert_eq!(Action::greedy([0.3, 0.1, 0.3]), Action::Increase);
    }
}
