//! Finding keys one after the other that mostly are asked for in the order of the map.

use std::hash::{BuildHasher, Hash};

use indexmap::IndexMap;

/// Where the next key is expected: right after the last one, or where the run was left before it.
/// There it takes no hash, and memory is read from front to back.
#[derive(Debug, Default)]
pub struct Lookup {
    next: [usize; 2],
}

impl Lookup {
    pub fn find<K: Hash + Eq, V>(
        &mut self,
        map: &IndexMap<K, V, impl BuildHasher>,
        key: &K,
    ) -> Option<usize> {
        let [next, left] = self.next;
        let is_at = |place: usize| map.get_index(place).is_some_and(|(known, _)| known == key);
        let (found, other) = match is_at(next) {
            true => (next, left),
            false => {
                (Some(left).filter(|left| is_at(*left)).or_else(|| map.get_index_of(key))?, next)
            }
        };
        self.next = [found + 1, other];
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_wherever_it_is() {
        let map: IndexMap<u32, ()> = [5, 3, 9, 7].into_iter().map(|key| (key, ())).collect();
        let mut lookup = Lookup::default();
        let found = [3, 9, 4, 7, 5, 5, 3, 9].map(|key| lookup.find(&map, &key));
        let at = [Some(1), Some(2), None, Some(3), Some(0), Some(0), Some(1), Some(2)];
        assert_eq!(found, at);
    }

    #[test]
    fn a_run_goes_on_after_a_key_from_elsewhere() {
        let map: IndexMap<u32, ()> = (0..9).map(|key| (key, ())).collect();
        let mut lookup = Lookup::default();
        let next = [0, 1, 7, 2, 8, 3].map(|key| {
            lookup.find(&map, &key);
            lookup.next
        });
        assert_eq!(next, [[1, 0], [2, 0], [8, 2], [3, 8], [9, 3], [4, 9]]);
    }
}
