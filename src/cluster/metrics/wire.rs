//! The fields of a protobuf message, borrowed from it.

use prost::decode_length_delimiter;

use super::measured::Odd;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    Number(i64),
    /// Of a text, of bytes or of a message.
    Bytes(&'a [u8]),
    /// Nothing, or of a kind that is not wanted.
    Other,
}

impl<'a> Value<'a> {
    pub fn number(self) -> i64 {
        if let Self::Number(number) = self { number } else { 0 }
    }

    pub fn bytes(self) -> &'a [u8] {
        if let Self::Bytes(bytes) = self { bytes } else { &[] }
    }
}

/// Each with its number.
pub fn fields(message: &[u8]) -> impl Iterator<Item = Result<(u32, Value<'_>), Odd>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        let field = (!rest.is_empty()).then(|| next(&mut rest))?;
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

/// The first field of that number: Kubernetes writes each of those asked for once.
pub fn field(message: &[u8], number: u32) -> Result<Value<'_>, Odd> {
    let is_wanted =
        |field: &Result<_, _>| field.as_ref().map_or(true, |(found, _)| *found == number);
    fields(message).find(is_wanted).map_or(Ok(Value::Other), |field| Ok(field?.1))
}

fn next<'a>(rest: &mut &'a [u8]) -> Result<(u32, Value<'a>), Odd> {
    let key = varint(rest)?;
    let value = match key & 7 {
        0 => Value::Number(varint(rest)? as i64),
        1 => take(rest, 8).map(|_| Value::Other)?,
        2 => {
            let length = varint(rest)?;
            Value::Bytes(take(rest, length)?)
        }
        5 => take(rest, 4).map(|_| Value::Other)?,
        kind => return Err(Odd::Kind(kind)),
    };
    Ok((u32::try_from(key >> 3).unwrap_or_default(), value))
}

/// Nearly all of them are of one byte.
#[inline]
fn varint(rest: &mut &[u8]) -> Result<usize, Odd> {
    match rest.split_first() {
        Some((byte, after)) if *byte < 0x80 => {
            *rest = after;
            Ok((*byte).into())
        }
        _ => Ok(decode_length_delimiter(rest)?),
    }
}

#[inline]
fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], Odd> {
    rest.split_off(..count).ok_or(Odd::Short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_kind_are_told_and_the_first_of_a_number_is_found() {
        let message = b"\x08\x96\x01\x11\0\0\0\0\0\0\0\0\x1a\x02hi\x25\0\0\0\0\x08\x05";
        let read: Vec<_> = fields(message).map(Result::unwrap).collect();
        let (number, other) = (Value::Number, Value::Other);
        let expected =
            [(1, number(150)), (2, other), (3, Value::Bytes(b"hi")), (4, other), (1, number(5))];
        assert_eq!(read, expected);
        assert_eq!(field(message, 1).unwrap().number(), 150);
        assert_eq!(field(message, 3).unwrap().bytes(), b"hi");
        assert_eq!(field(message, 9).unwrap(), Value::Other);
        let negative = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(field(negative, 1).unwrap().number(), -1);
    }

    #[test]
    fn what_is_cut_off_or_no_field_ends_the_message() {
        for odd in [
            &b"\x08"[..],
            b"\x08\x80",
            b"\x11\0\0\0",
            b"\x1a\x05hi",
            b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01hi",
            b"\x25\0",
            b"\x0b",
            b"\x0c",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            let mut read = fields(odd);
            assert!(read.next().unwrap().is_err() && read.next().is_none(), "{odd:?}");
            assert!(field(odd, 1).is_err(), "{odd:?}");
        }
    }
}
