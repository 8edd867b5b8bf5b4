//! What a request says in its path and query, read strictly.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use records::scalar::Integer;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store::queries::{Page, Slice};

use crate::limits::HttpLimits;
use crate::problem::{PATH_INVALID, Problem, QUERY_INVALID};

const CURSOR_BYTES_MAX: usize = 200;

/// The one parameter of a path.
pub(super) struct Named<T>(pub(super) T);

impl<T: std::str::FromStr, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| PATH_INVALID)?;
        Ok(Named(text.parse().map_err(|_| PATH_INVALID)?))
    }
}

/// The query's parameters; unknown and repeated ones are refused.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let refused =
            |error: axum::extract::rejection::QueryRejection| Problem::with(QUERY_INVALID, error.body_text());
        let Query(params) = Query::<T>::try_from_uri(&parts.uri).map_err(refused)?;
        Ok(Params(params))
    }
}

/// No parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The parameters of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    cursor: Option<String>,
    limit: Option<Integer>,
}

impl Paging {
    /// `deny_unknown_fields` does not work with `flatten`, so lists with more parameters hand them over.
    pub(super) fn new(cursor: Option<String>, limit: Option<Integer>) -> Paging {
        Paging { cursor, limit }
    }

    pub(super) fn slice(&self, limits: &HttpLimits) -> Result<Slice<'_>, Problem> {
        let most = limits.page_items;
        let limit = match self.limit.map(|Integer(limit)| u32::try_from(limit)) {
            None => limits.page_items_default,
            Some(Ok(limit)) if (1..=most).contains(&limit) => limit,
            Some(_) => return Err(Problem::with(QUERY_INVALID, format!("limit is 1 to {most}"))),
        };
        let after = self.cursor.as_deref();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"/_-~.".contains(&b);
        // The currency of an account's cursor is in upper case.
        let is_cursor = |text: &str| {
            (1..=CURSOR_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|b| plain(b) || b.is_ascii_uppercase())
        };
        if after.is_some_and(|text| !is_cursor(text)) {
            return Err(Problem::with(QUERY_INVALID, "cursor is the 'next' of an earlier page"));
        }
        Ok(Slice { after, limit })
    }

    /// The slice of a list in order of position, whose cursors are numbers.
    pub(super) fn slice_by_position(&self, limits: &HttpLimits) -> Result<Slice<'_>, Problem> {
        let slice = self.slice(limits)?;
        if slice.after.is_some_and(|text| text.parse::<Integer>().is_err()) {
            return Err(Problem::with(QUERY_INVALID, "cursor is the 'next' of an earlier page"));
        }
        Ok(slice)
    }
}

/// A page, as it is answered.
#[derive(Debug, Serialize)]
pub(super) struct Listed<T> {
    items: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl<T> From<Page<T>> for Listed<T> {
    fn from(page: Page<T>) -> Listed<T> {
        Listed { items: page.items, next: page.next }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;

    use super::*;
    use crate::limits::Limits;

    fn slice(query: &str) -> String {
        let uri: Uri = format!("/x?{query}").parse().unwrap();
        match Query::<Paging>::try_from_uri(&uri) {
            Err(_) => "refused".to_owned(),
            Ok(Query(paging)) => match paging.slice(&Limits::default().http) {
                Ok(slice) => format!("{:?} {}", slice.after, slice.limit),
                Err(problem) => problem.code().to_owned(),
            },
        }
    }

    #[test]
    fn paging_is_strict() {
        for (query, expected) in [
            ("", "None 100"),
            ("limit=1", "None 1"),
            ("limit=500&cursor=2100/disbursement/d-1~USD", "Some(\"2100/disbursement/d-1~USD\") 500"),
            ("limit=0", "query_invalid"),
            ("limit=501", "query_invalid"),
            ("limit=01", "refused"),
            ("limit=-1", "refused"),
            ("limit=5&limit=5", "refused"),
            ("cursor=", "query_invalid"),
            ("cursor=%00", "query_invalid"),
            ("cursor=a%27b", "query_invalid"),
            ("other=1", "refused"),
        ] {
            assert_eq!(slice(query), expected, "{query}");
        }
    }
}
