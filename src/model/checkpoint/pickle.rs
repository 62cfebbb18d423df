//! The pickle machine: the opcodes of protocols 2 to 5 that `torch.save` emits, over the values of
//! [`super::object`].

use std::collections::HashMap;

use super::bytes::{Bytes, Fault};
use super::object::StorageRef;
use super::object::{Global, Heap, Object, Value};
use crate::model::error::ModelError;

/// Each opcode pushes at most one value, so this bounds the machine's memory.
const MAX_OPCODES: usize = 1 << 20;
const MAX_MEMO: usize = 1 << 18;

/// Runs a pickle; gives the objects it built and its final value.
pub(super) fn parse(bytes: &[u8]) -> Result<(Heap<'_>, Value<'_>), ModelError> {
    let mut machine = Machine {
        bytes: Bytes::new(bytes),
        stack: vec![],
        marks: vec![],
        memo: HashMap::new(),
        heap: Heap::default(),
    };
    for _ in 0..MAX_OPCODES {
        let at = machine.bytes.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(value)) => return Ok((machine.heap, value)),
            Err(Fault::Refused(error)) => return Err(error),
            Err(Fault::Reason(reason)) => return Err(ModelError::Pickle { at, reason }),
        }
    }
    Err(ModelError::Pickle {
        at: machine.bytes.at,
        reason: format!("runs more than {MAX_OPCODES} opcodes"),
    })
}

struct Machine<'a> {
    bytes: Bytes<'a>,
    stack: Vec<Value<'a>>,
    /// Heights of the stack at its open marks.
    marks: Vec<usize>,
    memo: HashMap<usize, Value<'a>>,
    heap: Heap<'a>,
}

impl<'a> Machine<'a> {
    /// Runs one opcode; the value of the whole pickle at its end.
    fn step(&mut self) -> Result<Option<Value<'a>>, Fault> {
        let [opcode] = self.bytes.array()?;
        match opcode {
            0x80 => match self.bytes.array()? {
                [2..=5] => {}
                [protocol] => {
                    return Err(format!("protocol {protocol} is not supported, 2 to 5 are").into());
                }
            },
            0x95 => drop(self.bytes.array::<8>()?), // FRAME: a hint for buffering
            b'.' => return self.pop().map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),

            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'J' => {
                let number = i32::from_le_bytes(self.bytes.array()?);
                self.push(Value::Int(number.into()));
            }
            b'K' => self.push_length(1)?,
            b'M' => self.push_length(2)?,
            0x8a => self.long(1)?,
            0x8b => self.long(4)?,
            b'G' => {
                let number = f64::from_be_bytes(self.bytes.array()?);
                self.push(Value::Float(number));
            }
            0x8c => self.text(1)?,
            b'X' => self.text(4)?,
            0x8d => self.text(8)?,
            b'C' => self.skip_bytes(1)?,
            b'B' => self.skip_bytes(4)?,
            0x8e | 0x96 => self.skip_bytes(8)?,

            b')' => self.add(Object::Tuple(vec![]))?,
            0x85..=0x87 => self.short_tuple(usize::from(opcode - 0x84))?,
            b't' => {
                let items = self.pop_to_mark()?;
                self.add(Object::Tuple(items))?;
            }
            b']' | 0x8f => self.add(Object::List(vec![]))?,
            b'l' | 0x91 => {
                let items = self.pop_to_mark()?;
                self.add(Object::List(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            b'}' => self.add(Object::Dict(vec![]))?,
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(&items)?;
            }

            b'q' => self.put(1)?,
            b'r' => self.put(4)?,
            0x94 => self.memoize(self.memo.len())?,
            b'h' => self.recall(1)?,
            b'j' => self.recall(4)?,

            b'c' => {
                let module = self.bytes.line()?;
                let name = self.bytes.line()?;
                self.global(module, name)?;
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Str(name), Value::Str(module)) => self.global(module, name)?,
                _ => return Err("a global's name is not text".into()),
            },
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let Value::Global(global) = self.pop()? else {
                    return Err("calls what is no known global".into());
                };
                let value = global.call(&mut self.heap, arguments)?;
                self.push(value);
            }
            // Attributes set on an object, such as the module versions on a state dict: of no use
            // here.
            b'b' => drop(self.pop()?),
            b'Q' => {
                let id = self.pop()?;
                let storage = StorageRef::new(&self.heap, id)?;
                self.add(Object::Storage(storage))?;
            }
            _ => {
                return Err(
                    format!("opcode 0x{opcode:02x} is not one that torch.save emits").into()
                );
            }
        }
        Ok(None)
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(value);
    }

    fn push_length(&mut self, width: usize) -> Result<(), Fault> {
        let number = self.bytes.length(width)?;
        self.push(Value::Int(i64::try_from(number).map_err(|_| "a number is too large")?));
        Ok(())
    }

    /// An integer of any size in two's complement; one too large for 64 bits only keeps its rounded
    /// value.
    fn long(&mut self, width: usize) -> Result<(), Fault> {
        let count = self.bytes.length(width)?;
        let bytes = self.bytes.take(count)?;
        let value = if count > 16 {
            Value::Opaque
        } else {
            let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
            let start: i128 = if negative { -1 } else { 0 };
            let number =
                bytes.iter().rev().fold(start, |number, &byte| number << 8 | i128::from(byte));
            i64::try_from(number).map_or(Value::Float(number as f64), Value::Int)
        };
        self.push(value);
        Ok(())
    }

    fn text(&mut self, width: usize) -> Result<(), Fault> {
        let count = self.bytes.length(width)?;
        let text = self.bytes.text(count)?;
        self.push(Value::Str(text));
        Ok(())
    }

    fn skip_bytes(&mut self, width: usize) -> Result<(), Fault> {
        let count = self.bytes.length(width)?;
        self.bytes.take(count)?;
        self.push(Value::Opaque);
        Ok(())
    }

    /// A value above the innermost mark.
    fn pop(&mut self) -> Result<Value<'a>, Fault> {
        if self.stack.len() <= self.marks.last().copied().unwrap_or(0) {
            return Err("takes a value that is not there".into());
        }
        self.stack.pop().ok_or_else(|| "takes a value that is not there".into())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value<'a>>, Fault> {
        let mark = self.marks.pop().ok_or("closes a mark that is not there")?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn top(&self) -> Result<Value<'a>, Fault> {
        self.stack.last().copied().ok_or_else(|| "needs a value that is not there".into())
    }

    fn add(&mut self, object: Object<'a>) -> Result<(), Fault> {
        let value = self.heap.add(object)?;
        self.push(value);
        Ok(())
    }

    fn short_tuple(&mut self, count: usize) -> Result<(), Fault> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.add(Object::Tuple(items))
    }

    fn append(&mut self, items: Vec<Value<'a>>) -> Result<(), Fault> {
        let list = self.top()?;
        let Some(Object::List(list)) = self.heap.get_mut(list) else {
            return Err("appends to what is no list".into());
        };
        // Taken over where it can be: a list of millions is in memory once.
        if list.is_empty() {
            *list = items
        } else {
            list.extend(items)
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Value<'a>]) -> Result<(), Fault> {
        let dict = self.top()?;
        let Some(Object::Dict(dict)) = self.heap.get_mut(dict) else {
            return Err("sets items of what is no dict".into());
        };
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err("sets a key without a value".into());
        }
        dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }

    fn put(&mut self, width: usize) -> Result<(), Fault> {
        let place = self.bytes.length(width)?;
        self.memoize(place)
    }

    fn memoize(&mut self, place: usize) -> Result<(), Fault> {
        if self.memo.len() == MAX_MEMO {
            return Err(format!("remembers more than {MAX_MEMO} values").into());
        }
        self.memo.insert(place, self.top()?);
        Ok(())
    }

    fn recall(&mut self, width: usize) -> Result<(), Fault> {
        let place = self.bytes.length(width)?;
        let value = *self.memo.get(&place).ok_or("recalls a value that was never stored")?;
        self.push(value);
        Ok(())
    }

    fn global(&mut self, module: &'a str, name: &'a str) -> Result<(), Fault> {
        self.push(Value::Global(Global::find(module, name).map_err(Fault::Refused)?));
        Ok(())
    }
}
