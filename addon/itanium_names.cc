// Names, functions and template arguments.
#include <algorithm>
#include <iterator>
#include <utility>

#include "itanium.h"

namespace itanium {

static constexpr size_t MOST_NODES = 1u << 18;

void Tree::clear() {
    nodes.assign(1, {}); // NONE
    lists.clear();
    texts.clear();
}

Id Tree::add(Node node) {
    if (nodes.size() >= MOST_NODES)
        throw Undecodable{};
    nodes.push_back(node);
    return static_cast<Id>(nodes.size() - 1);
}

Id Tree::number(std::string_view before, uint64_t number, std::string_view after) {
    std::string &text = texts.emplace_back(before);
    text += std::to_string(number);
    text += after;
    return this->text(text);
}

Id Tree::list(Kind kind, const std::vector<Id> &items, Node node) {
    node.kind = kind;
    node.first = static_cast<uint32_t>(lists.size());
    node.count = static_cast<uint32_t>(items.size());
    lists.insert(lists.end(), items.begin(), items.end());
    return add(node);
}

// Sorted by code.
static constexpr Operator OPERATORS[] = {
    {{'a', 'N'}, 2, "&="},     {{'a', 'S'}, 2, "="},        {{'a', 'a'}, 2, "&&"},
    {{'a', 'd'}, 1, "&"},      {{'a', 'n'}, 2, "&"},        {{'a', 'w'}, 1, "co_await "},
    {{'c', 'l'}, 0, "()"},     {{'c', 'm'}, 2, ","},        {{'c', 'o'}, 1, "~"},
    {{'d', 'V'}, 2, "/="},     {{'d', 'a'}, 0, "delete[]"}, {{'d', 'e'}, 1, "*"},
    {{'d', 'l'}, 0, "delete"}, {{'d', 's'}, 2, ".*"},       {{'d', 'v'}, 2, "/"},
    {{'e', 'O'}, 2, "^="},     {{'e', 'o'}, 2, "^"},        {{'e', 'q'}, 2, "=="},
    {{'g', 'e'}, 2, ">="},     {{'g', 't'}, 2, ">"},        {{'i', 'x'}, 0, "[]"},
    {{'l', 'S'}, 2, "<<="},    {{'l', 'e'}, 2, "<="},       {{'l', 's'}, 2, "<<"},
    {{'l', 't'}, 2, "<"},      {{'m', 'I'}, 2, "-="},       {{'m', 'L'}, 2, "*="},
    {{'m', 'i'}, 2, "-"},      {{'m', 'l'}, 2, "*"},        {{'m', 'm'}, 1, "--"},
    {{'n', 'a'}, 0, "new[]"},  {{'n', 'e'}, 2, "!="},       {{'n', 'g'}, 1, "-"},
    {{'n', 't'}, 1, "!"},      {{'n', 'w'}, 0, "new"},      {{'o', 'R'}, 2, "|="},
    {{'o', 'o'}, 2, "||"},     {{'o', 'r'}, 2, "|"},        {{'p', 'L'}, 2, "+="},
    {{'p', 'l'}, 2, "+"},      {{'p', 'm'}, 2, "->*"},      {{'p', 'p'}, 1, "++"},
    {{'p', 's'}, 1, "+"},      {{'p', 't'}, 0, "->"},       {{'q', 'u'}, 0, "?"},
    {{'r', 'M'}, 2, "%="},     {{'r', 'S'}, 2, ">>="},      {{'r', 'm'}, 2, "%"},
    {{'r', 's'}, 2, ">>"},     {{'s', 's'}, 2, "<=>"},
};

const Operator *find_operator(char first, char second) {
    auto before = [](const Operator &each, std::pair<char, char> code) {
        return std::pair(each.code[0], each.code[1]) < code;
    };
    auto found = std::lower_bound(std::begin(OPERATORS), std::end(OPERATORS),
                                  std::pair(first, second), before);
    return found != std::end(OPERATORS) && found->code[0] == first && found->code[1] == second
               ? found
               : nullptr;
}

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

static constexpr struct {
    char code;
    const char *text;
    const char *whole;
    const char *base;
} STANDARD[] = {
    {'a', "std::allocator", "std::allocator", "allocator"},
    {'b', "std::basic_string", "std::basic_string", "basic_string"},
    {'s', "std::string", "std::basic_string<char, std::char_traits<char>, std::allocator<char> >",
     "basic_string"},
    {'i', "std::istream", "std::basic_istream<char, std::char_traits<char> >", "basic_istream"},
    {'o', "std::ostream", "std::basic_ostream<char, std::char_traits<char> >", "basic_ostream"},
    {'d', "std::iostream", "std::basic_iostream<char, std::char_traits<char> >", "basic_iostream"},
};

Id Parser::structor(NameState *state, Id &scope) {
    if (scope == NONE)
        fail();
    bool is_destructor = next() == 'D';
    bool is_inherited = !is_destructor && take("I");
    char variant = next();
    if (variant < '0' || variant > '5')
        fail();
    if (is_inherited)
        name(nullptr);
    if (state)
        state->has_no_return_type = true;
    Id base = base_name(scope);
    if (tree_.nodes[base].kind == Kind::STANDARD) {
        // An abbreviation is the name of no constructor.
        std::string_view text = tree_.nodes[base].text;
        for (const auto &each : STANDARD)
            if (text == each.text) {
                if (base == scope)
                    scope = tree_.text(each.whole);
                base = tree_.text(each.base);
                break;
            }
    }
    return tree_.add({.kind = Kind::STRUCTOR, .left = base, .text = is_destructor ? "~" : ""});
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

Id Parser::substitution() {
    if (!take("S"))
        fail();
    for (const auto &each : STANDARD)
        if (look() == each.code) {
            at_++;
            Id id = tree_.add({.kind = Kind::STANDARD, .text = each.text});
            bool had_tags = false;
            skip_tags(&had_tags);
            if (had_tags)
                substitutions_.push_back(id);
            return id;
        }
    size_t index = 0;
    if (!take("_")) {
        while (!take("_")) {
            char digit = next();
            if (digit >= '0' && digit <= '9')
                index = index * 36 + static_cast<size_t>(digit - '0');
            else if (digit >= 'A' && digit <= 'Z')
                index = index * 36 + static_cast<size_t>(digit - 'A' + 10);
            else
                fail();
            if (index > MOST_NODES)
                fail();
        }
        index++;
    }
    if (index >= substitutions_.size())
        fail();
    return substitutions_[index];
}

Id Parser::template_parameter() {
    if (!take("T"))
        fail();
    if (take("L")) {
        number();
        if (!take("_"))
            fail();
    }
    uint64_t position = sequence_number();
    if (lambdas_ > 0)
        return tree_.number("auto:", position, "");
    // A conversion's type stands before the template arguments that it speaks of.
    if (may_refer_forward_) {
        Id id = tree_.add({.kind = Kind::FORWARD, .right = static_cast<Id>(position - 1)});
        forward_.push_back(id);
        return id;
    }
    if (position > template_parameters_.size())
        fail();
    return template_parameters_[position - 1];
}

Id Parser::with_arguments(Id name, bool tags) {
    Deeper deeper(depth_);
    if (!take("I"))
        fail();
    if (tags)
        template_parameters_.clear();
    std::vector<Id> arguments;
    while (!take("E")) {
        if (take("Q")) {
            expression();
            continue;
        }
        Id argument = template_argument();
        arguments.push_back(argument);
        if (!tags)
            continue;
        Node entry = tree_.nodes[argument];
        if (entry.kind == Kind::LIST) {
            entry.kind = Kind::PARAMETER_PACK;
            argument = tree_.add(entry);
        }
        template_parameters_.push_back(argument);
    }
    return tree_.list(Kind::TEMPLATE, arguments, {.left = name});
}

Id Parser::template_argument() {
    Deeper deeper(depth_);
    if (take("X")) {
        Id value = expression();
        if (!take("E"))
            fail();
        return value;
    }
    if (look() == 'L')
        return literal();
    if (take("J")) {
        std::vector<Id> items;
        while (!take("E"))
            items.push_back(template_argument());
        return tree_.list(Kind::LIST, items);
    }
    // A template parameter's constraint, before the argument.
    if (look() == 'T' && look(1) == 'k')
        fail();
    if (look() == 'T' && (look(1) == 'y' || look(1) == 'n' || look(1) == 't' || look(1) == 'p')) {
        skip_template_declarations();
        return template_argument();
    }
    return type();
}

} // namespace itanium
