//! What the Q-network says of one row of features.

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::resource::{PerResource, Resource};
use crate::room::Levels;

/// The value of every action for each resource, and the usage that the network foresees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct QValues {
    /// Q values of the CPU actions, in the order of the network's outputs.
    pub cpu: [f32; 3],
    /// Q values of the memory actions, in the same order.
    pub memory: [f32; 3],
    /// The prediction head's outputs, as shares of the limit: CPU, then memory.
    pub future: [f32; 2],
    /// How much room each resource needs, where the network has heads that tell.
    #[serde(default)]
    pub room: Option<PerResource<Levels>>,
}

/// What the network wants for one resource.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preference {
    pub action: Action,
    pub room: Option<Levels>,
}

impl QValues {
    /// Of the actions for a resource.
    pub fn of(&self, resource: Resource) -> [f32; 3] {
        match resource {
            Resource::Cpu => self.cpu,
            Resource::Memory => self.memory,
        }
    }

    pub fn preference(&self, resource: Resource) -> Preference {
        let action = Action::greedy(self.of(resource));
        Preference { action, room: self.room.map(|room| room[resource]) }
    }
}
