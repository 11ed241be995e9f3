//! Bytes written down by hand from the D-Bus Specification, not by the code that they prove.

use super::*;

fn written(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    value.write(&mut out);
    out
}

#[test]
fn plain_values_have_their_size_and_strings_their_length() {
    assert_eq!(written(&Value::Byte(7)), [7]);
    assert_eq!(written(&Value::Bool(true)), [1, 0, 0, 0]);
    assert_eq!(written(&Value::UInt16(0x0102)), [2, 1]);
    assert_eq!(written(&Value::Int16(-2)), [0xfe, 0xff]);
    assert_eq!(written(&Value::UInt32(0x0102_0304)), [4, 3, 2, 1]);
    assert_eq!(written(&Value::Int32(-1)), [0xff; 4]);
    assert_eq!(written(&Value::UInt64(u64::MAX)), [0xff; 8]);
    assert_eq!(written(&Value::Int64(1)), [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(written(&Value::Double(1.0)), [0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    // "foo": the length without the zero byte, which is there.
    assert_eq!(written(&Value::text("foo")), [3, 0, 0, 0, b'f', b'o', b'o', 0]);
    assert_eq!(written(&Value::Signature("as".to_owned())), [2, b'a', b's', 0]);
}

/// The specification's own example: an array of one 64-bit integer 5 is eight bytes long, four of padding not counted.
#[test]
fn the_length_of_an_array_does_not_count_what_is_skipped_before_it() {
    let array = Value::Array("x".to_owned(), vec![Value::Int64(5)]);
    assert_eq!(written(&array), [8, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    let empty = Value::Array("(ss)".to_owned(), vec![]);
    assert_eq!(written(&empty), [0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(empty.signature(), "a(ss)");
    assert_eq!(written(&Value::bytes(&[1, 2])), [2, 0, 0, 0, 1, 2]);
}

#[test]
fn a_property_is_a_name_and_a_variant() {
    let property = Value::Struct(vec![
        Value::text("PIDs"),
        Value::Variant(Box::new(Value::Array("u".into(), vec![Value::UInt32(9)]))),
    ]);
    assert_eq!(property.signature(), "(sv)");
    #[rustfmt::skip]
    let expected = [
        4, 0, 0, 0, b'P', b'I', b'D', b's', 0,      // the name
        2, b'a', b'u', 0,                           // the variant's type stands at any place
        0, 0, 0,                                    // to a multiple of 4
        4, 0, 0, 0, 9, 0, 0, 0,
    ];
    assert_eq!(written(&property), expected);
}

#[test]
fn a_call_has_a_header_and_begins_its_body_at_a_multiple_of_eight() {
    let target = Target { service: "d.e", object: "/o", interface: "i.f" };
    let message = call(target, "Do", 2, &[Value::text("x")]);
    #[rustfmt::skip]
    let expected = [
        b'l', 1, 0, 1,   6, 0, 0, 0,   2, 0, 0, 0,                          // little, call, no flags, version 1
        71, 0, 0, 0,                                                        // 16 + 16 + 16 + 16 + 7 bytes of fields
        1, 1, b'o', 0,   2, 0, 0, 0,   b'/', b'o', 0,   0, 0, 0, 0, 0,      // path
        2, 1, b's', 0,   3, 0, 0, 0,   b'i', b'.', b'f', 0,   0, 0, 0, 0,   // interface
        3, 1, b's', 0,   2, 0, 0, 0,   b'D', b'o', 0,   0, 0, 0, 0, 0,      // member
        6, 1, b's', 0,   3, 0, 0, 0,   b'd', b'.', b'e', 0,   0, 0, 0, 0,   // destination
        8, 1, b'g', 0,   1, b's', 0,                                        // signature
        0,
        1, 0, 0, 0, b'x', 0,
    ];
    assert_eq!(message, expected);
}

/// JobRemoved as systemd sends it, in either order of bytes.
fn job_removed(big: bool) -> Vec<u8> {
    let number = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut message = vec![if big { b'B' } else { b'l' }, 4, 1, 1];
    message.extend(number(37)); // body
    message.extend(number(77)); // serial
    message.extend(number(42)); // fields: 24 + 8 + 10
    message.extend([3, 1, b's', 0]);
    message.extend(number(10));
    message.extend(b"JobRemoved\0");
    message.extend([0; 5]); // 19 of 24
    message.extend([9, 1, b'u', 0]); // how many descriptors: none of ours
    message.extend(number(0));
    message.extend([8, 1, b'g', 0, 4]);
    message.extend(b"uoss\0");
    message.extend([0; 6]); // 42 to 48
    message.extend(number(12)); // the job's number
    message.extend(number(4));
    message.extend(b"/j/5\0\0\0\0");
    message.extend(number(7));
    message.extend(b"x.scope\0");
    message.extend(number(4));
    message.extend(b"done\0");
    message
}

#[test]
fn a_job_that_is_over_is_heard() {
    for big in [false, true] {
        let message = job_removed(big);
        let head = message[..HEAD].try_into().unwrap();
        assert_eq!(whole_length(&head).unwrap(), message.len());
        let heard = read(&message).unwrap();
        assert_eq!(heard, Message::JobRemoved { job: "/j/5".to_owned(), result: "done".to_owned() });
    }
}

#[test]
fn nonsense_is_an_error_and_no_panic() {
    let message = job_removed(false);
    for length in 0..message.len() {
        let _ = read(&message[..length.max(2).min(message.len())]);
    }
    for at in 0..message.len() {
        for byte in [0, 1, 0x7f, 0xff] {
            let mut torn = message.clone();
            torn[at] = byte;
            let _ = read(&torn);
        }
    }
    let mut huge = [b'l'; HEAD];
    huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(whole_length(&huge).is_err());
    assert!(whole_length(&[b'x'; HEAD]).is_err());
}
