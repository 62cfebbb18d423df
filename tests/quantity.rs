//! The core's quantities say what another reader of the format says.

use dqn_scaler::core::quantity::Quantity;
use kube_quantity::ParsedQuantity;
use proptest::prelude::*;

proptest! {
    #[test]
    fn values_agree_with_another_library(
        mantissa in "[0-9]{1,6}(\\.[0-9]{1,3})?",
        suffix in prop::sample::select(
            vec!["", "n", "u", "m", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi"]),
    ) {
        let text = format!("{mantissa}{suffix}");
        let ours = Quantity::parse(&text).unwrap().to_f64();
        let theirs = ParsedQuantity::try_from(text.as_str()).unwrap().to_bytes_f64().unwrap();
        // The API server takes what is more for the largest whole number of 64 bits.
        let theirs = theirs.min(i64::MAX as f64);
        // Kubernetes rounds up to billionths.
        prop_assert!(ours - theirs <= 1e-9 + theirs * 1e-12 && theirs - ours <= theirs * 1e-12,
            "{text}: {ours}, {theirs}");
    }

    #[test]
    fn what_is_written_reads_back_as_the_same(
        mantissa in "[0-9]{1,6}(\\.[0-9]{1,3})?",
        suffix in prop::sample::select(vec!["", "n", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3"]),
    ) {
        let quantity = Quantity::parse(&format!("{mantissa}{suffix}")).unwrap();
        prop_assert_eq!(Quantity::parse(&quantity.to_string()), Ok(quantity));
    }
}
