//! The two resources that are scaled, and one value for each of them.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The two resources that are scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    Cpu,
    Memory,
}

impl Resource {
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Memory];

    pub fn index(self) -> usize {
        self as usize
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }

    /// The name at the beginning of a sentence.
    pub fn label(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Memory => "Memory",
        }
    }
}

/// One value for each of the two resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct PerResource<T> {
    pub cpu: T,
    pub memory: T,
}

impl<T> PerResource<T> {
    #[inline]
    pub fn new(cpu: T, memory: T) -> Self {
        Self { cpu, memory }
    }

    /// Computes a value for each resource.
    #[inline]
    pub fn build(mut of: impl FnMut(Resource) -> T) -> Self {
        Self { cpu: of(Resource::Cpu), memory: of(Resource::Memory) }
    }
}

impl<T> Index<Resource> for PerResource<T> {
    type Output = T;

    #[inline]
    fn index(&self, resource: Resource) -> &T {
        match resource {
            Resource::Cpu => &self.cpu,
            Resource::Memory => &self.memory,
        }
    }
}

impl<T> IndexMut<Resource> for PerResource<T> {
    #[inline]
    fn index_mut(&mut self, resource: Resource) -> &mut T {
        match resource {
            Resource::Cpu => &mut self.cpu,
            Resource::Memory => &mut self.memory,
        }
    }
}
