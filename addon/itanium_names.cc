// Names and functions.
#include <utility>

#include "itanium.h"

namespace itanium {

bool Parser::take(std::string_view expected) {
    if (text_.substr(at_, expected.size()) != expected)
        return false;
    at_ += expected.size();
    return true;
}

char Parser::next() {
    if (at_end())
        fail();
    return text_[at_++];
}

std::string_view Parser::digits() {
    size_t start = at_;
    while (look() >= '0' && look() <= '9')
        at_++;
    return text_.substr(start, at_ - start);
}

uint64_t Parser::number() {
    std::string_view text = digits();
    if (text.empty() || text.size() > 9)
        fail();
    uint64_t value = 0;
    for (char digit : text)
        value = value * 10 + static_cast<uint64_t>(digit - '0');
    return value;
}

uint64_t Parser::sequence_number() {
    if (take("_"))
        return 1;
    uint64_t value = number();
    if (!take("_"))
        fail();
    return value + 2;
}

Id Parser::parse() {
    Id whole = encoding(true);
    // ".isra.0" and the like are no part of the name.
    if (!at_end() && look() != '.')
        fail();
    return whole;
}

Id Parser::encoding(bool is_outermost) {
    Deeper deeper(depth_);
    if (look() == 'T' || (look() == 'G' && look(1) != '\0'))
        return special();
    std::vector<Id> outer = std::move(template_parameters_);
    template_parameters_.clear();
    unsigned outer_lambdas = std::exchange(lambdas_, 0);
    bool outer_refers = std::exchange(may_refer_forward_, false);
    size_t forward_before = forward_.size();
    NameState state;
    Id function = name(&state);
    for (size_t i = forward_before; i < forward_.size(); i++) {
        Node &reference = tree_.nodes[forward_[i]];
        if (reference.right >= template_parameters_.size())
            fail();
        reference.left = template_parameters_[reference.right];
    }
    forward_.resize(forward_before);
    Node node{.kind = Kind::ENCODING, .flags = state.flags, .left = function};
    auto ends = [&] { return at_end() || look() == 'E' || look() == '.'; };
    Id whole;
    if (ends()) {
        whole = tree_.add(node);
    } else {
        try {
            std::vector<Id> types;
            if (state.is_template && !state.has_no_return_type)
                type();
            parameters(types);
            if (take("Q"))
                expression();
            if (!ends())
                fail();
            node.flags |= HAS_PARAMETERS;
            whole = tree_.list(Kind::ENCODING, types, node);
        } catch (const Undecodable &) {
            if (!is_outermost)
                throw;
            at_ = text_.size();
            whole = tree_.add(node);
        }
    }
    template_parameters_ = std::move(outer);
    lambdas_ = outer_lambdas;
    may_refer_forward_ = outer_refers;
    return whole;
}

void Parser::skip_call_offset() {
    auto offset = [&] {
        take("n");
        number();
        if (!take("_"))
            fail();
    };
    if (take("h")) {
        offset();
    } else if (take("v")) {
        offset();
        offset();
    } else {
        fail();
    }
}

Id Parser::special() {
    auto of = [&](std::string_view text, Id what) {
        return tree_.add({.kind = Kind::THUNK, .left = what, .text = text});
    };
    if (take("Tc")) {
        skip_call_offset();
        skip_call_offset();
        return of("covariant return thunk to ", encoding(false));
    }
    if (look() == 'T' && (look(1) == 'h' || look(1) == 'v')) {
        at_++;
        bool is_virtual = look() == 'v';
        skip_call_offset();
        return of(is_virtual ? "virtual thunk to " : "non-virtual thunk to ", encoding(false));
    }
    if (take("TH"))
        return of("TLS init function for ", name(nullptr));
    if (take("TW"))
        return of("TLS wrapper function for ", name(nullptr));
    if (take("GTt"))
        return of("transaction clone for ", encoding(false));
    if (take("GTn"))
        return of("non-transaction clone for ", encoding(false));
    // All others are data.
    fail();
}

Id Parser::name(NameState *state) {
    Deeper deeper(depth_);
    if (look() == 'N')
        return nested_name(state);
    if (look() == 'Z')
        return local_name(state);
    bool is_substitution = false;
    Id result = unscoped_name(state, &is_substitution);
    if (look() == 'I') {
        if (!is_substitution)
            substitutions_.push_back(result);
        result = with_arguments(result, state != nullptr);
        if (state)
            state->is_template = true;
    } else if (is_substitution) {
        fail();
    }
    return result;
}

Id Parser::unscoped_name(NameState *state, bool *is_substitution) {
    Id scope = take("St") ? tree_.text("std") : NONE;
    if (look() == 'S') {
        if (scope != NONE)
            fail();
        *is_substitution = true;
        return substitution();
    }
    return unqualified_name(state, scope);
}

Id Parser::nested_name(NameState *state) {
    if (!take("N"))
        fail();
    // H: the object is a parameter of its own (C++23).
    if (!take("H")) {
        uint8_t flags = cv_qualifiers();
        if (take("O"))
            flags |= RVALUE;
        else if (take("R"))
            flags |= LVALUE;
        if (state)
            state->flags = flags;
    }
    Id so_far = NONE;
    bool is_last_pushed = false;
    while (!take("E")) {
        if (state)
            state->is_template = false;
        is_last_pushed = true;
        if (look() == 'T') {
            if (so_far != NONE)
                fail();
            so_far = template_parameter();
        } else if (look() == 'I') {
            if (so_far == NONE || tree_.nodes[so_far].kind == Kind::TEMPLATE)
                fail();
            so_far = with_arguments(so_far, state != nullptr);
            if (state)
                state->is_template = true;
        } else if (look() == 'D' && (look(1) == 't' || look(1) == 'T')) {
            if (so_far != NONE)
                fail();
            so_far = decltype_of();
        } else if (look() == 'S') {
            if (so_far != NONE)
                fail();
            so_far = take("St") ? tree_.text("std") : substitution();
            is_last_pushed = false;
            continue;
        } else {
            so_far = unqualified_name(state, so_far);
        }
        substitutions_.push_back(so_far);
        take("M"); // before the initializer of a member
    }
    if (so_far == NONE || !is_last_pushed)
        fail();
    substitutions_.pop_back();
    return so_far;
}

Id Parser::local_name(NameState *state) {
    if (!take("Z"))
        fail();
    Id function = encoding(false);
    if (!take("E"))
        fail();
    Id entity;
    if (take("s")) {
        skip_discriminator();
        entity = tree_.text("string literal");
    } else if (take("d")) {
        Id argument = tree_.number("{default arg#", sequence_number(), "}");
        entity = tree_.add({.kind = Kind::SCOPED, .left = argument, .right = name(state)});
    } else {
        entity = name(state);
        skip_discriminator();
    }
    return tree_.add({.kind = Kind::SCOPED, .left = function, .right = entity});
}

void Parser::skip_discriminator() {
    if (look() != '_')
        return;
    at_++;
    if (take("_")) {
        number();
        if (!take("_"))
            fail();
    } else if (look() >= '0' && look() <= '9') {
        at_++;
    } else {
        fail();
    }
}

Id Parser::unqualified_name(NameState *state, Id scope) {
    take("F"); // a friend that its class alone sees
    take("L"); // internal linkage
    Id result;
    if (look() >= '1' && look() <= '9') {
        result = source_name();
    } else if (look() == 'U') {
        result = unnamed_type();
    } else if (take("DC")) {
        std::vector<Id> names;
        while (!take("E"))
            names.push_back(source_name());
        result = tree_.sequence({tree_.text("["), tree_.list(Kind::LIST, names), tree_.text("]")});
    } else if (look() == 'C' || (look() == 'D' && look(1) >= '0' && look(1) <= '5')) {
        result = structor(state, scope);
    } else {
        result = operator_name(state);
    }
    skip_tags();
    if (scope != NONE)
        result = tree_.add({.kind = Kind::SCOPED, .left = scope, .right = result});
    return result;
}

// "[abi:cxx11]" is for the linker.
void Parser::skip_tags(bool *had_tags) {
    while (take("B")) {
        source_name();
        if (had_tags)
            *had_tags = true;
    }
}

Id Parser::source_name() {
    uint64_t length = number();
    if (length == 0 || length > text_.size() - at_)
        fail();
    std::string_view name = text_.substr(at_, length);
    at_ += length;
    // "_GLOBAL_", then '.', '_' or '$' as the target allows, then "N".
    if (name.size() >= 10 && name.substr(0, 8) == "_GLOBAL_" && name[9] == 'N')
        name = "(anonymous namespace)";
    return tree_.text(name);
}

Id Parser::unnamed_type() {
    if (take("Ut"))
        return tree_.number("{unnamed type#", sequence_number(), "}");
    if (!take("Ul"))
        fail();
    std::vector<Id> types;
    lambdas_++;
    skip_template_declarations();
    parameters(types);
    lambdas_--;
    if (take("Q"))
        expression();
    if (!take("E"))
        fail();
    Id list = tree_.list(Kind::LIST, types);
    return tree_.sequence(
        {tree_.text("{lambda("), list, tree_.number(")#", sequence_number(), "}")});
}

// Those that a lambda writes out: "[]<typename T>(T)".
void Parser::skip_template_declarations() {
    while (look() == 'T') {
        if (take("Ty") || take("Tp"))
            continue;
        if (take("Tn")) {
            type();
        } else if (take("Tt")) {
            Deeper deeper(depth_);
            skip_template_declarations();
            if (!take("E"))
                fail();
        } else {
            return;
        }
    }
}

// The last part of a class's name, which its constructors have too.
Id Parser::base_name(Id name) const {
    for (;;) {
        const Node &node = tree_.nodes[name];
        if (node.kind == Kind::TEMPLATE || node.kind == Kind::FORWARD)
            name = node.left;
        else if (node.kind == Kind::SCOPED)
            name = node.right;
        else
            return name;
        if (name == NONE)
            fail();
    }
}

Id Parser::operator_name(NameState *state) {
    if (take("cv")) {
        if (state)
            state->has_no_return_type = true;
        bool outer = may_refer_forward_;
        may_refer_forward_ = outer || state != nullptr;
        Id to = type(true);
        may_refer_forward_ = outer;
        return tree_.sequence({tree_.text("operator "), to});
    }
    if (take("li"))
        return tree_.sequence({tree_.text("operator\"\" "), source_name()});
    if (look() == 'v' && look(1) >= '0' && look(1) <= '9') {
        at_ += 2;
        return tree_.sequence({tree_.text("operator "), source_name()});
    }
    const Operator *found = find_operator(look(), look(1));
    if (!found)
        fail();
    at_ += 2;
    std::string_view text = found->text;
    if (text == "co_await ")
        text = "co_await";
    bool is_word = text[0] >= 'a' && text[0] <= 'z';
    return tree_.sequence({tree_.text(is_word ? "operator " : "operator"), tree_.text(text)});
}

} // namespace itanium
