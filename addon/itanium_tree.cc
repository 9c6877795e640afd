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

} // namespace itanium
