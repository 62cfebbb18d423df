//! A record of the past in constant memory: the longer it grows, the coarser it becomes, until it
//! slides.

/// One entry of a record; `merge` takes in a later one that falls into the same step.
pub trait Mergeable {
    /// Seconds since the epoch.
    fn at(&self) -> i64;
    fn merge(&mut self, later: Self);
}

#[derive(Debug, Clone)]
pub struct Downsampled<T, const N: usize> {
    entries: Vec<T>,
    step: i64,
    coarsest: i64,
}

impl<T: Mergeable, const N: usize> Downsampled<T, N> {
    /// Holds at most `N` entries; none stands for more than `coarsest` seconds.
    pub fn new(coarsest: i64) -> Self {
        Self { entries: Vec::new(), step: 1, coarsest: coarsest.max(1) }
    }

    pub fn push(&mut self, entry: T) {
        let bucket = |entry: &T, step: i64| entry.at().div_euclid(step);
        match self.entries.last_mut() {
            Some(last) if bucket(last, self.step) >= bucket(&entry, self.step) => {
                return last.merge(entry);
            }
            _ => {}
        }
        while self.entries.len() >= N && self.step < self.coarsest {
            self.step = (self.step * 2).min(self.coarsest);
            self.thin();
        }
        if self.entries.len() >= N {
            self.entries.remove(0);
        }
        self.entries.push(entry);
    }

    fn thin(&mut self) {
        let step = self.step;
        let mut kept: Vec<T> = Vec::with_capacity(N);
        for entry in self.entries.drain(..) {
            match kept.last_mut() {
                Some(last) if last.at().div_euclid(step) == entry.at().div_euclid(step) => {
                    last.merge(entry)
                }
                _ => kept.push(entry),
            }
        }
        self.entries = kept;
    }

    pub fn entries(&self) -> &[T] {
        &self.entries
    }

    /// The seconds that an entry stands for.
    pub fn step(&self) -> i64 {
        self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Count(i64, u64);

    impl Mergeable for Count {
        fn at(&self) -> i64 {
            self.0
        }

        fn merge(&mut self, later: Self) {
            self.0 = self.0.max(later.0);
            self.1 += later.1;
        }
    }

    #[test]
    fn it_covers_all_of_a_growing_past_and_loses_nothing() {
        let mut record = Downsampled::<Count, 8>::new(1_000_000);
        for step in 0..1000 {
            record.push(Count(step * 30, 1));
            assert!(record.entries().len() <= 8);
            assert_eq!(record.entries().iter().map(|count| count.1).sum::<u64>(), step as u64 + 1);
            assert!(record.entries().windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
        assert!(record.entries().len() >= 4 && record.entries()[0].0 < 1000 * 30 / 4);
    }

    #[test]
    fn it_slides_once_it_is_at_its_coarsest() {
        let mut record = Downsampled::<Count, 8>::new(60);
        (0..1000).for_each(|step| record.push(Count(step * 30, 1)));
        assert_eq!((record.step(), record.entries().len()), (60, 8));
        assert_eq!(record.entries()[0].0, 30 * (1000 - 15));
    }

    #[test]
    fn what_comes_late_joins_the_newest() {
        let mut record = Downsampled::<Count, 8>::new(60);
        record.push(Count(100, 1));
        record.push(Count(70, 1));
        assert_eq!(record.entries(), [Count(100, 2)]);
    }
}
