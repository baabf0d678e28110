//! A column of the membership table, compared in its own type so that its index is used, and as text so that it is the
//! very same identifier.

use std::ffi::{CStr, CString};

use pg_jwks_core::claims;
use pg_jwks_core::policy::membership_table::quoted;
use pgrx::{IntoDatum, pg_sys};

use crate::pg::datum::text_datum;

/// A column and how it is compared.
#[derive(Clone)]
pub struct Column {
    number: pg_sys::AttrNumber,
    name: String,
    comparison: Comparison,
}

#[derive(Clone)]
enum Comparison {
    Smallint,
    Integer,
    Bigint,
    Uuid,
    /// A type that is laid out as text, and the operator that its indexes know.
    Text {
        base: pg_sys::Oid,
        equals: String,
    },
    /// Of other types the text alone is compared, without an index.
    OnlyText,
}

/// An identifier as parameters of [`Column::condition`].
pub struct Operands {
    own_type: Option<pg_sys::Datum>,
    text: Vec<u8>,
}

impl Column {
    /// A column by its name as the catalogue has it. The error is a full sentence.
    pub fn of(relation: pg_sys::Oid, name: &str) -> Result<Self, String> {
        let missing = || format!("It has no column {}.", quoted(name));
        let catalogue_name = CString::new(name).map_err(|_| missing())?;
        // SAFETY: the name is a C string, and the relation is locked. The entry of the type cache stays.
        let (number, comparison) = unsafe {
            let number = pg_sys::get_attnum(relation, catalogue_name.as_ptr());
            if number <= 0 {
                return Err(missing());
            }
            let comparison = match pg_sys::getBaseType(pg_sys::get_atttype(relation, number)) {
                pg_sys::INT2OID => Comparison::Smallint,
                pg_sys::INT4OID => Comparison::Integer,
                pg_sys::INT8OID => Comparison::Bigint,
                pg_sys::UUIDOID => Comparison::Uuid,
                base if base == pg_sys::BPCHAROID || pg_sys::IsBinaryCoercible(base, pg_sys::TEXTOID) => {
                    let entry = pg_sys::lookup_type_cache(base, pg_sys::TYPECACHE_EQ_OPR as i32);
                    match qualified_operator((*entry).eq_opr) {
                        Some(equals) => Comparison::Text { base, equals },
                        None => Comparison::OnlyText,
                    }
                }
                _ => Comparison::OnlyText,
            };
            (number, comparison)
        };
        Ok(Self { number, name: format!("t.{}", quoted(name)), comparison })
    }

    /// Its number in the table.
    pub fn number(&self) -> pg_sys::AttrNumber {
        self.number
    }

    /// The column's text form, for the result of a query.
    pub fn text(&self) -> String {
        format!("{}::pg_catalog.text", self.name)
    }

    /// A condition that the column is the identifier of [`Operands`], which have the given numbers and more.
    pub fn condition(&self, first: usize) -> String {
        let text = |n| format!("({} COLLATE pg_catalog.\"C\") OPERATOR(pg_catalog.=) ${n}", self.text());
        let equals = match &self.comparison {
            Comparison::OnlyText => return text(first),
            Comparison::Text { equals, .. } => equals,
            _ => "pg_catalog.=",
        };
        format!("{} OPERATOR({equals}) ${first} AND {}", self.name, text(first + 1))
    }

    /// The types of the condition's parameters.
    pub fn types(&self) -> Vec<pg_sys::Oid> {
        let own_type = match self.comparison {
            Comparison::Smallint => Some(pg_sys::INT2OID),
            Comparison::Integer => Some(pg_sys::INT4OID),
            Comparison::Bigint => Some(pg_sys::INT8OID),
            Comparison::Uuid => Some(pg_sys::UUIDOID),
            Comparison::Text { base, .. } => Some(base),
            Comparison::OnlyText => None,
        };
        own_type.into_iter().chain([pg_sys::TEXTOID]).collect()
    }

    /// An identifier, with its datum in the current memory context; `None` if no value of the type is spelt so.
    pub fn operands(&self, identifier: &[u8]) -> Option<Operands> {
        let text = || str::from_utf8(identifier).ok();
        let mut spelling = identifier.to_vec();
        let own_type = match self.comparison {
            Comparison::Smallint => text()?.parse::<i16>().ok()?.into_datum(),
            Comparison::Integer => text()?.parse::<i32>().ok()?.into_datum(),
            Comparison::Bigint => text()?.parse::<i64>().ok()?.into_datum(),
            Comparison::Uuid => {
                let uuid = claims::uuid(text()?)?;
                // Of the forms that a UUID can have, the column's text has one, in small letters.
                spelling.make_ascii_lowercase();
                pgrx::Uuid::from_bytes(uuid).into_datum()
            }
            Comparison::Text { .. } => Some(text_datum(identifier)),
            Comparison::OnlyText => None,
        };
        Some(Operands { own_type, text: spelling })
    }
}

impl Operands {
    /// The parameters, as [`Column::types`] has them.
    pub fn datums(&self) -> impl Iterator<Item = pg_sys::Datum> {
        self.own_type.into_iter().chain([text_datum(&self.text)])
    }
}

/// An operator with its schema, for `OPERATOR()`; `None` if there is none.
fn qualified_operator(operator: pg_sys::Oid) -> Option<String> {
    // SAFETY: a tuple of pg_operator begins with this struct; it is read before it is released. The names are C
    // strings in the current memory context.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::OPEROID as i32, operator.into_datum()?);
        let form = pg_sys::GETSTRUCT(tuple.as_ref().map(|_| tuple)?).cast::<pg_sys::FormData_pg_operator>();
        let schema = pg_sys::get_namespace_name((*form).oprnamespace);
        let name = CStr::from_ptr((*form).oprname.data.as_ptr()).to_str().map(str::to_owned);
        pg_sys::ReleaseSysCache(tuple);
        let schema = schema.as_ref().map(|first| CStr::from_ptr(first))?.to_str().ok()?;
        Some(format!("{}.{}", quoted(schema), name.ok()?))
    }
}
