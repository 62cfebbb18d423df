//! Kubernetes quantities, exact: read, compared and written in canonical form as the API server
//! does.

use std::cmp::Ordering;
use std::fmt;

const NANO: i128 = 1_000_000_000;

/// How a quantity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

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
    pub fn millis(millis: i64) -> Self {
        Self { nano: i128::from(millis) * (NANO / 1000), format: Format::Decimal }
    }

    pub fn bytes(bytes: i64) -> Self {
        Self { nano: i128::from(bytes) * NANO, format: Format::Binary }
    }

    pub fn parse(text: &str) -> Result<Self, NotAQuantity> {
        let end = text
            .char_indices()
            .find(|(at, c)| {
                !(c.is_ascii_digit() || *c == '.' || (*at == 0 && matches!(c, '+' | '-')))
            })
            .map_or(text.len(), |(at, _)| at);
        let (mantissa, suffix) = text.split_at(end);
        let (unit, format) = if let Some((_, unit)) =
            BINARY.iter().find(|(name, _)| *name == suffix)
        {
            (*unit, Format::Binary)
        } else if let Some((_, unit)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
            (*unit, Format::Decimal)
        } else {
            let exponent: i32 =
                suffix.strip_prefix(['e', 'E']).and_then(|e| e.parse().ok()).ok_or(NotAQuantity)?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs()).ok_or(NotAQuantity)?;
            (
                if exponent < 0 { (NANO / power).max(1) } else { power.saturating_mul(NANO) },
                Format::Exponent,
            )
        };
        Ok(Self { nano: scaled(mantissa, unit).ok_or(NotAQuantity)?, format })
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
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
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
    fn units_round_up() {
        assert_eq!(Quantity::parse("1500u").map(Quantity::to_millis), Ok(2));
        assert_eq!(Quantity::parse("128974848500m").map(Quantity::to_units), Ok(128_974_849));
        assert!(Quantity::parse("1Gi").unwrap() > Quantity::parse("1G").unwrap());
    }
}
