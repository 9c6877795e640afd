#include "demangle.h"

#include <array>

#include "rust_names.h"

// Far above what a large program needs (a few hundred a name); a file made for the purpose could
// keep us busy for hours. Beyond it names stay as they are.
static constexpr uint64_t MOST_STEPS = uint64_t{1} << 29;
// Those of C++ that are longer nobody reads, nor writes as a pattern.
static constexpr size_t LONGEST_MANGLED = 16u << 10;

// What compilers add to copies and parts of a function: "parse.constprop.0.isra.0".
static std::string_view without_suffixes(std::string_view symbol) {
    static constexpr std::array<std::string_view, 9> SUFFIXES = {
        "isra", "constprop", "part", "cold", "lto_priv", "llvm", "localalias", "clone", "ipa_ra"};
    for (;;) {
        std::string_view base = symbol;
        size_t dot = base.rfind('.');
        while (dot != std::string_view::npos && dot > 0 &&
               base.find_first_not_of("0123456789", dot + 1) == std::string_view::npos) {
            base = base.substr(0, dot);
            dot = base.rfind('.');
        }
        if (dot == std::string_view::npos || dot == 0)
            return symbol;
        std::string_view last = base.substr(dot + 1);
        bool is_suffix = false;
        for (std::string_view suffix : SUFFIXES)
            is_suffix = is_suffix || last == suffix;
        if (!is_suffix)
            return symbol;
        symbol = base.substr(0, dot);
    }
}

void Demangler::demangle_cpp(std::string_view symbol) {
    tree_.clear();
    itanium::Id whole;
    try {
        whole = itanium::Parser(symbol.substr(2), tree_).parse();
    } catch (const itanium::Undecodable &) {
        steps_ += tree_.nodes.size();
        return;
    }
    steps_ += tree_.nodes.size();
    for (bool with_parameters : {false, true}) {
        std::string &out = with_parameters ? names_.signature : names_.name;
        itanium::Printer printer(tree_, out);
        try {
            printer.print(whole, with_parameters);
        } catch (const itanium::Undecodable &) {
            out.clear();
        }
        steps_ += printer.steps();
    }
    if (names_.name.empty() || names_.signature == names_.name)
        names_.signature.clear();
}

const Demangler::Names &Demangler::demangle(std::string_view symbol) {
    names_.name.clear();
    names_.signature.clear();
    if (steps_ < MOST_STEPS && symbol.size() <= LONGEST_MANGLED && symbol.size() > 2 &&
        symbol[0] == '_') {
        steps_ += symbol.size();
        if (symbol[1] == 'Z' && !rust::demangle_legacy(symbol, names_.name)) {
            demangle_cpp(symbol);
        } else if (symbol[1] == 'R' && !rust::demangle_v0(symbol, names_.name, steps_)) {
            names_.name.clear();
        }
    }
    if (names_.name.empty())
        names_.name = without_suffixes(symbol);
    return names_;
}
