//! Kubernetes quantities, exact: read, compared and written in canonical form as the API server
//! does; and amounts of the two resources as this service counts them, cores and MiB.

use std::cmp::Ordering;
use std::fmt;

use crate::resource::{PerResource, Resource};

/// Bytes in a MiB.
pub const MIB: f64 = 1024.0 * 1024.0;

/// No node has more: what a person asks for beyond it is a mistake.
pub const MOST: PerResource<f64> = PerResource { cpu: 10_000.0, memory: 100_000_000.0 };

const NANO: i128 = 1_000_000_000;
/// The API server takes what is more for this.
const LARGEST: i128 = i64::MAX as i128 * NANO;

/// How a quantity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

/// An amount in billionths of its base unit (a core, a byte), and how it was written.
///
/// ```
/// use dqn_scaler_core::quantity::Quantity;
///
/// let half = Quantity::parse("0.5").unwrap();
/// assert_eq!((half.to_millis(), half.to_string().as_str()), (500, "500m"));
/// assert!(Quantity::parse("1Gi").unwrap() > Quantity::parse("1G").unwrap());
/// assert!(Quantity::parse("1K").is_err(), "Kubernetes knows k and Ki");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

/// The words of the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)]
pub struct NotAQuantity;

const DECIMAL: [(&str, i128); 10] = [
    ("E", NANO * 1_000_000_000_000_000_000),
    ("P", NANO * 1_000_000_000_000_000),
    ("T", NANO * 1_000_000_000_000),
    ("G", NANO * 1_000_000_000),
    ("M", NANO * 1_000_000),
    ("k", NANO * 1_000),
    ("", NANO),
    ("m", NANO / 1_000),
    ("u", NANO / 1_000_000),
    ("n", 1),
];
const BINARY: [(&str, i128); 6] = [
    ("Ei", NANO << 60),
    ("Pi", NANO << 50),
    ("Ti", NANO << 40),
    ("Gi", NANO << 30),
    ("Mi", NANO << 20),
    ("Ki", NANO << 10),
];

impl Quantity {
    /// So many thousandths of the base unit.
    pub fn millis(millis: i64) -> Self {
        Self { nano: i128::from(millis) * (NANO / 1000), format: Format::Decimal }
    }

    /// So many bytes, written with a binary suffix.
    pub fn bytes(bytes: i64) -> Self {
        Self { nano: i128::from(bytes) * NANO, format: Format::Binary }
    }

    /// Reads `500m`, `1.5Gi`, `1e3`; refuses what the API server refuses.
    pub fn parse(text: &str) -> Result<Self, NotAQuantity> {
        let is_of_mantissa = |at: usize, c: u8| {
            c.is_ascii_digit() || c == b'.' || (at == 0 && matches!(c, b'+' | b'-'))
        };
        let suffix = text.bytes().enumerate().position(|(at, c)| !is_of_mantissa(at, c));
        let (mantissa, suffix) = text.split_at(suffix.unwrap_or(text.len()));
        let of = |units: &[(&str, i128)]| {
            let mut units = units.iter();
            units.find(|(name, _)| name.bytes().eq(suffix.bytes())).map(|(_, unit)| *unit)
        };
        let (unit, format) = if let Some(unit) = of(&BINARY) {
            (unit, Format::Binary)
        } else if let Some(unit) = of(&DECIMAL) {
            (unit, Format::Decimal)
        } else {
            let exponent: i32 =
                suffix.strip_prefix(['e', 'E']).and_then(|e| e.parse().ok()).ok_or(NotAQuantity)?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs()).ok_or(NotAQuantity)?;
            (
                if exponent < 0 { (NANO / power).max(1) } else { power.saturating_mul(NANO) },
                Format::Exponent,
            )
        };
        let nano = scaled(mantissa, unit).ok_or(NotAQuantity)?;
        Ok(Self { nano: nano.clamp(-LARGEST, LARGEST), format })
    }

    /// In the base unit: cores or bytes.
    pub fn to_f64(self) -> f64 {
        // Nearly all are small, and those are converted in one step.
        let nano = i64::try_from(self.nano).map_or(self.nano as f64, |nano| nano as f64);
        nano / NANO as f64
    }

    pub fn is_negative(self) -> bool {
        self.nano < 0
    }

    /// Thousandths, rounded up.
    pub fn to_millis(self) -> i64 {
        self.rounded_up(NANO / 1000)
    }

    /// Whole units, rounded up.
    pub fn to_units(self) -> i64 {
        self.rounded_up(NANO)
    }

    fn rounded_up(self, unit: i128) -> i64 {
        let up = self.nano.div_euclid(unit) + i128::from(self.nano.rem_euclid(unit) != 0);
        i64::try_from(up).unwrap_or(if up > 0 { i64::MAX } else { i64::MIN })
    }
}

/// `mantissa` times `unit`, rounded away from zero.
fn scaled(mantissa: &str, unit: i128) -> Option<i128> {
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || digits.len() > 36 {
        return None;
    }
    let whole: i128 = match whole.len() {
        0 => 0,
        // Those that are sure to be small are read in much less time.
        1..=18 => whole.parse::<i64>().ok()?.into(),
        _ => whole.parse().ok()?,
    };
    let mut value = whole.checked_mul(unit)?;
    if !fraction.is_empty() {
        let (fraction, power) =
            (fraction.parse::<i128>().ok()?, 10_i128.checked_pow(fraction.len() as u32)?);
        let part = fraction.checked_mul(unit)?;
        value = value.checked_add(part / power + i128::from(part % power != 0))?;
    }
    Some(if negative { -value } else { value })
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        if self.format == Format::Exponent {
            let mut exponent = 0;
            let mut value = self.nano;
            while value % 10 == 0 {
                (value, exponent) = (value / 10, exponent + 1);
            }
            // Exponents go in threes.
            let exponent = (exponent - 9_i32).div_euclid(3) * 3;
            let mantissa = self.nano / 10_i128.pow((exponent + 9).max(0) as u32);
            return if exponent == 0 {
                write!(f, "{mantissa}")
            } else {
                write!(f, "{mantissa}e{exponent}")
            };
        }
        let binary = (self.format == Format::Binary && self.nano.abs() >= NANO << 10)
            .then_some(BINARY.iter());
        let suffixes = binary
            .into_iter()
            .flatten()
            .chain(&DECIMAL[if self.format == Format::Binary { 6 } else { 0 }..]);
        let (suffix, unit) =
            suffixes.into_iter().find(|(_, unit)| self.nano % unit == 0).unwrap_or(&("n", 1));
        write!(f, "{}{suffix}", self.nano / unit)
    }
}

/// A quantity of CPU in cores; None for what is no quantity.
pub fn cores(text: &str) -> Option<f64> {
    Quantity::parse(text).ok().map(Quantity::to_f64)
}

/// A quantity of memory in MiB; None for what is no quantity.
pub fn mib(text: &str) -> Option<f64> {
    cores(text).map(|bytes| bytes / MIB)
}

/// Cores or MiB.
pub fn amount(resource: Resource, text: &str) -> Option<f64> {
    match resource {
        Resource::Cpu => cores(text),
        Resource::Memory => mib(text),
    }
}

/// Whole millicores.
pub fn format_cpu(millicores: u64) -> String {
    if millicores.is_multiple_of(1000) {
        format!("{}", millicores / 1000)
    } else {
        format!("{millicores}m")
    }
}

/// Whole KiB, in the largest binary unit that is exact.
pub fn format_memory(kib: u64) -> String {
    match kib {
        _ if kib > 0 && kib.is_multiple_of(1024 * 1024) => format!("{}Gi", kib / (1024 * 1024)),
        _ if kib > 0 && kib.is_multiple_of(1024) => format!("{}Mi", kib / 1024),
        _ => format!("{kib}Ki"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_in_canonical_form() {
        for (text, canonical) in [
            ("0.5", "500m"),
            ("1000m", "1"),
            ("2000", "2k"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1500M", "1500M"),
            ("128974848", "128974848"),
            ("0.1n", "1n"),
            ("1e3", "1e3"),
            ("12E2", "1200"),
            ("-1", "-1"),
            ("0", "0"),
            ("500Ki", "500Ki"),
            ("100", "100"),
        ] {
            assert_eq!(
                Quantity::parse(text).map(|quantity| quantity.to_string()),
                Ok(canonical.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "abc",
            "1x",
            "1.2.3",
            "--1",
            "Ki",
            "1 Gi",
            ".",
            "1e",
            "99999999999999999999999999999999999999",
        ] {
            assert_eq!(Quantity::parse(text), Err(NotAQuantity), "{text}");
        }
    }

    #[test]
    fn what_is_huge_is_read_as_the_most_that_there_is() {
        for text in ["90000E", "9223372036854775807", "1e25", "99999Ei"] {
            let quantity = Quantity::parse(text).unwrap();
            assert_eq!(quantity.to_units(), i64::MAX, "{text}");
            assert!(cores(text).unwrap() < 1e19 && !quantity.to_string().is_empty());
        }
    }

    #[test]
    fn units_round_up() {
        assert_eq!(Quantity::parse("1500u").map(Quantity::to_millis), Ok(2));
        assert_eq!(Quantity::parse("128974848500m").map(Quantity::to_units), Ok(128_974_849));
        assert!(Quantity::parse("1Gi").unwrap() > Quantity::parse("1G").unwrap());
    }

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, value) in [
            ("100m", 0.1),
            ("1", 1.0),
            ("0.5", 0.5),
            (".5", 0.5),
            ("1.", 1.0),
            ("+2", 2.0),
            ("250000000n", 0.25),
            ("250000u", 0.25),
            ("1k", 1e3),
            ("1M", 1e6),
            ("1G", 1e9),
            ("1T", 1e12),
            ("1P", 1e15),
            ("1E", 1e18),
            ("1Ki", 1024.0),
            ("512Mi", 512.0 * MIB),
            ("1.5Gi", 1536.0 * MIB),
            ("1Ti", MIB * MIB),
            ("1e3", 1000.0),
            ("1E3", 1000.0),
            ("12e-1", 1.2),
            ("0", 0.0),
            ("-1", -1.0),
        ] {
            let parsed = cores(text).unwrap_or(f64::NAN);
            assert!((parsed - value).abs() <= value.abs() * 1e-9, "{text}: {parsed}");
        }
        for text in [
            "", "abc", "1K", "1ki", "1mi", "Mi", "1 Mi", "1MiB", "nan", "inf", "1e", "1.2.3",
            "--1", "1m1",
        ] {
            assert_eq!(cores(text), None, "{text}");
        }
    }

    #[test]
    fn quantities_are_written_in_exact_units() {
        assert_eq!(
            [
                format_cpu(250),
                format_cpu(2000),
                format_memory(512 * 1024),
                format_memory(1025),
                format_memory(0)
            ],
            ["250m", "2", "512Mi", "1025Ki", "0Ki"]
        );
        assert_eq!(format_memory(2 * 1024 * 1024), "2Gi");
    }
}
