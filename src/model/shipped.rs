//! Where the model comes from: a file, or one of those that are part of the binary.

use std::path::{Path, PathBuf};

use super::checkpoint::Checkpoint;
use super::error::ModelError;
use super::network::Network;
use crate::files;

/// The models that are part of the binary, by what they are named in the configuration.
const SHIPPED: [(&str, &[u8]); 2] = [
    (DOCUMENTED, include_bytes!("../../models/final-models/dqn_model.pth")),
    (ROOM, include_bytes!("../../models/final-models/dqn_model_room.pth")),
];
/// The one that sees the eight documented features.
pub const DOCUMENTED: &str = "final-models/dqn_model.pth";
/// The one that also tells how much room a container needs.
pub const ROOM: &str = "final-models/dqn_model_room.pth";
/// What is known of them.
pub const CARD: &str = include_str!("../../models/README.md");

/// A network, and where it was taken from.
pub struct Found {
    pub network: Network,
    /// None: it is part of the binary.
    pub file: Option<PathBuf>,
    /// It is one that this version ships.
    pub shipped: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum NotFound {
    #[error("there is no file at {}", places(.0))]
    Nowhere(Vec<PathBuf>),
    #[error(transparent)]
    Unusable(#[from] ModelError),
}

fn places(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    shown.join(", nor at ")
}

/// Looks for `path` as it is, below `models/`, and beside the binary. Only where one in the binary
/// is named, it stands in for its file.
pub fn find(path: &Path) -> Result<Found, NotFound> {
    let places = candidates(path, std::env::current_exe().ok().as_deref());
    let Some(file) = places.iter().find(|place| place.exists()) else {
        let Some((_, bytes)) = SHIPPED.iter().find(|(name, _)| Path::new(name) == path) else {
            return Err(NotFound::Nowhere(places));
        };
        let name = "the model that is part of the binary";
        let checkpoint = Checkpoint::read_bytes(bytes, name)?;
        return Ok(Found {
            network: Network::from_checkpoint(&checkpoint)?,
            file: None,
            shipped: true,
        });
    };
    let network = Network::load(file)?;
    network.try_out().map_err(|error| error.of_file(file.display()))?;
    let is_file = |(_, ours): &(&str, &[u8])| {
        files::read(file, ours.len() as u64).is_ok_and(|bytes| bytes == *ours)
    };
    let shipped = SHIPPED.iter().any(is_file);
    Ok(Found { network, file: Some(file.clone()), shipped })
}

fn candidates(path: &Path, binary: Option<&Path>) -> Vec<PathBuf> {
    let mut places = vec![path.to_owned()];
    if path.is_relative() {
        places.push(Path::new("models").join(path));
        let folder = binary.and_then(Path::parent);
        places.extend(folder.map(|folder| folder.join("models").join(path)));
        let above = folder.and_then(Path::parent);
        places.extend(above.map(|above| above.join("models").join(path)));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_names_every_place_or_gives_way_to_the_binary() {
        let missing = Path::new("no/such/model.pth");
        let message = find(missing).err().unwrap().to_string();
        for place in ["at no/such/model.pth,", "nor at models/no/such/model.pth"] {
            assert!(message.contains(place), "{message}");
        }
        for (name, _) in SHIPPED {
            let found = find(Path::new(name)).unwrap();
            assert!(found.shipped && found.network.has_room() == (name == ROOM), "{name}");
        }
    }

    #[test]
    fn it_is_looked_for_beside_the_binary_too() {
        let places = candidates(Path::new("m.pth"), Some(Path::new("/opt/scaler/bin/dqn-scaler")));
        let expected =
            ["m.pth", "models/m.pth", "/opt/scaler/bin/models/m.pth", "/opt/scaler/models/m.pth"];
        assert_eq!(places, expected.map(PathBuf::from));
        assert_eq!(candidates(Path::new("/m.pth"), None), [PathBuf::from("/m.pth")]);
    }
}
