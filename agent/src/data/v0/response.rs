use bytes::{Buf, BytesMut};

/// Answer to a POST with packets: the status is all that matters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    /// Whether the connection ends with this answer.
    pub(super) closes: bool,
    pub(super) status: u16,
}

/// The other side does not speak HTTP/1.1, or sends more than [`MAX_LEN`] bytes for an answer without content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not HTTP/1.1 of at most {MAX_LEN} bytes")]
pub(super) struct MalformedResponse;

/// Takes one whole response off the front of `received`, or `None` if there is not one yet.
pub(super) fn take_response(received: &mut BytesMut) -> Result<Option<Response>, MalformedResponse> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let head_len = match head.parse(received).map_err(|_| MalformedResponse)? {
        httparse::Status::Complete(len) => len,
        httparse::Status::Partial if received.len() > MAX_LEN => return Err(MalformedResponse),
        httparse::Status::Partial => return Ok(None),
    };
    let status = head.code.ok_or(MalformedResponse)?;
    let value = |name: &str| head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    let bodiless = status == 204 || status == 304;
    let body_len = match value("content-length") {
        _ if bodiless => 0,
        Some(text) => {
            std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok()).ok_or(MalformedResponse)?
        }
        None => 0,
    };
    // A body of unknown length ends with the connection; the packets were answered all the same.
    let unframed = !bodiless && value("content-length").is_none();
    let closes = unframed
        || value("connection").is_some_and(|text| text.eq_ignore_ascii_case(b"close"))
        || head.version == Some(0);
    let len = head_len.checked_add(body_len).filter(|len| *len <= MAX_LEN).ok_or(MalformedResponse)?;
    if received.len() < len {
        return Ok(None);
    }
    received.advance(len);
    Ok(Some(Response { closes, status }))
}

const MAX_HEADERS: usize = 32;

/// Bytes of head and body together; a debug page of the original has about 4 kB without its environment table.
const MAX_LEN: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_pipelined_answers_come_off_one_by_one() {
        let mut received = BytesMut::from(
            "HTTP/1.1 204 No Content\r\nx: y\r\n\r\nHTTP/1.1 401 Unauthorized\r\ncontent-length: 3\r\n\r\nabc",
        );

        assert_eq!(take_response(&mut received), Ok(Some(Response { closes: false, status: 204 })));
        assert_eq!(take_response(&mut received), Ok(Some(Response { closes: false, status: 401 })));
        assert_eq!(take_response(&mut received), Ok(None));
        assert!(received.is_empty());
    }

    #[test]
    fn a_part_of_an_answer_waits_for_the_rest() {
        let whole = "HTTP/1.1 400 Bad\r\ncontent-length: 4\r\n\r\nbody";
        for cut in 0..whole.len() {
            let mut received = BytesMut::from(&whole[..cut]);
            assert_eq!(take_response(&mut received), Ok(None), "{cut}");
        }
    }

    #[test]
    fn what_is_not_http_or_too_long_is_refused() {
        assert_eq!(take_response(&mut BytesMut::from("SSH-2.0\r\n\r\n")), Err(MalformedResponse));
        let long = format!("HTTP/1.1 500 X\r\ncontent-length: {}\r\n\r\n", MAX_LEN);
        assert_eq!(take_response(&mut BytesMut::from(long.as_str())), Err(MalformedResponse));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_never_grow(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut received = BytesMut::from(bytes.as_slice());
            let _outcome = take_response(&mut received);
            prop_assert!(received.len() <= bytes.len());
        }

        #[test]
        fn mutilated_answers_never_panic(at in 0usize..60, byte in any::<u8>()) {
            let mut bytes = b"HTTP/1.1 400 Bad\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody".to_vec();
            bytes[at] = byte;
            let _outcome = take_response(&mut BytesMut::from(bytes.as_slice()));
        }
    }

    #[test]
    fn an_answer_of_unknown_length_ends_the_connection() {
        let mut received = BytesMut::from("HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello");
        assert_eq!(take_response(&mut received), Ok(Some(Response { closes: true, status: 500 })));
    }
}
