#include "instruction.h"
#include "instructions.h"

static std::optional<std::string> text_of(const ZydisDecoder &decoder,
                                          const ZydisFormatter &formatter, const ElfFile &elf,
                                          uint64_t address) {
    if (!elf.is_code(address))
        return std::nullopt;
    // The last one may end with the code.
    std::optional<Bytes> bytes;
    for (uint64_t size = ZYDIS_MAX_INSTRUCTION_LENGTH; size > 0 && !bytes; size--)
        bytes = elf.memory(address, size);
    Instruction instruction;
    char text[128];
    if (!bytes ||
        !ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes->data(), bytes->size(),
                                             &instruction.decoded, instruction.operands)) ||
        !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(
            &formatter, &instruction.decoded, instruction.operands,
            instruction.decoded.operand_count_visible, text, sizeof text, address, nullptr)))
        return std::nullopt;
    return text;
}

std::vector<std::optional<std::string>> disassemble(const ElfFile &elf,
                                                    const std::vector<uint64_t> &addresses) {
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisFormatter formatter;
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_ATT);
    std::vector<std::optional<std::string>> texts;
    for (uint64_t address : addresses)
        texts.push_back(text_of(decoder, formatter, elf, address));
    return texts;
}
