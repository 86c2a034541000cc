//! The attributes of `geminga-function`; see there.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{FnArg, ItemFn, parse_macro_input, spanned::Spanned as _};

/// Makes a Rust function the function of this component: `#[function]`, or `#[function(window)]` for one on windows.
#[proc_macro_attribute]
pub fn function(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as ItemFn);
    let arguments = Tokens::from(arguments);
    expand(&arguments, &item).unwrap_or_else(|error| with_error(&item, &error)).into()
}

/// Makes a Rust function the source of this component: `fn read(emitter: &mut Emitter) -> Result<(), E>`.
#[proc_macro_attribute]
pub fn source(_: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as ItemFn);
    let name = &item.sig.ident;
    let expanded = check(&item, 1..=1, "a source takes an `&mut Emitter`").map(|()| {
        quote! {
            // So that a backtrace has its name.
            #[inline(never)]
            #item
            const _: () = {
                struct Component;
                impl ::geminga_function::__private::source::Guest for Component {
                    fn run_source() -> ::core::result::Result<(), ::std::string::String> {
                        ::geminga_function::__private::run_source(|emitter| #name(emitter))
                    }
                }
                ::geminga_function::__private::export_source!(
                    Component with_types_in ::geminga_function::__private::source
                );
            };
        }
    });
    expanded.unwrap_or_else(|error| with_error(&item, &error)).into()
}

/// Makes a Rust function what is called once before the first message, or before the source runs: `fn start() -> Result<(), E>`.
#[proc_macro_attribute]
pub fn setup(_: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as ItemFn);
    let name = &item.sig.ident;
    let expanded = check(&item, 0..=0, "a `setup` function takes nothing").map(|()| {
        quote! {
            #item
            const _: () = {
                struct Component;
                impl ::geminga_function::__private::with_setup::Guest for Component {
                    fn setup() -> ::core::result::Result<(), ::std::string::String> {
                        ::geminga_function::__private::setup(#name())
                    }
                }
                ::geminga_function::__private::export_with_setup!(
                    Component with_types_in ::geminga_function::__private::with_setup
                );
            };
        }
    });
    expanded.unwrap_or_else(|error| with_error(&item, &error)).into()
}

fn expand(arguments: &Tokens, item: &ItemFn) -> syn::Result<Tokens> {
    let is_window = match arguments.to_string().as_str() {
        "" => false,
        "window" => true,
        _ => return Err(syn::Error::new(arguments.span(), "write `#[function]` or `#[function(window)]`")),
    };
    check(item, 1..=2, "a function takes its input, and where it wants it a `&Context`")?;
    let name = &item.sig.ident;
    let call = if item.sig.inputs.len() == 2 { quote!(#name(input, context)) } else { quote!(#name(input)) };
    let context = if item.sig.inputs.len() == 2 { quote!(context) } else { quote!(_) };
    let (world, export, method, run) = if is_window {
        (quote!(window_function), quote!(export_window_function), quote!(run_windows), quote!(run_windows))
    } else {
        (quote!(function), quote!(export_function), quote!(run), quote!(run))
    };
    Ok(quote! {
        // So that a backtrace has its name.
        #[inline(never)]
        #item
        const _: () = {
            struct Component;
            impl ::geminga_function::__private::#world::Guest for Component {
                fn #method() {
                    ::geminga_function::__private::#run(|input, #context| #call)
                }
            }
            ::geminga_function::__private::#export!(Component with_types_in ::geminga_function::__private::#world);
        };
    })
}

fn check(item: &ItemFn, inputs: std::ops::RangeInclusive<usize>, takes: &str) -> syn::Result<()> {
    let signature = &item.sig;
    if let Some(asynchronous) = &signature.asyncness {
        return Err(syn::Error::new(asynchronous.span(), "a function of a component is not `async`"));
    }
    if !signature.generics.params.is_empty() {
        return Err(syn::Error::new(signature.generics.span(), "a function of a component is not generic"));
    }
    let has_self = signature.inputs.iter().any(|input| matches!(input, FnArg::Receiver(_)));
    if has_self || !inputs.contains(&signature.inputs.len()) {
        return Err(syn::Error::new(signature.inputs.span(), takes));
    }
    Ok(())
}

/// The function stays, so that this is the only error.
fn with_error(item: &ItemFn, error: &syn::Error) -> Tokens {
    let error = error.to_compile_error();
    quote!(#item #error)
}
