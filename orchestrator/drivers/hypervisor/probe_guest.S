# The guest by which we find out whether KVM runs guests: unpaged work, long mode, paging, interrupts, CPUID, MSRs,
# then a word on the serial line. Assemble:
#   as --64 probe_guest.S -o guest.o && ld -Ttext=0x100000 --oformat binary guest.o -o guest.bin
# and put `python3 -c 'print(open("guest.bin","rb").read().hex())'` into probe_guest.py.
        .set TABLES, 0x200000
        .set IDT, 0x190000                       # memory that is zero at start
        .text
        .code32
        .globl _start
_start:
header: .long 0x1BADB002, 0x00010000, -(0x1BADB002 + 0x00010000)   # multiboot, with addresses
        .long header, header, 0, 0, entry                            # flat: load all, no bss
entry:  cli
        movl $0x180000, %esp
        movl $50000000, %ecx                     # work as firmware and loaders do it, without paging: a KVM that
0:      imull $1103515245, %eax                  # emulates such code one instruction at a time takes minutes
        decl %ecx
        jnz 0b
        movl $TABLES, %edi                       # a page table: 1 GiB mapped onto itself in 2 MiB pages
        xorl %eax, %eax
        movl $0xC00, %ecx
        rep stosl
        movl $(TABLES + 0x1003), TABLES
        movl $(TABLES + 0x2003), TABLES + 0x1000
        movl $(TABLES + 0x2000), %edi
        movl $0x83, %eax
1:      movl %eax, (%edi)
        addl $0x200000, %eax
        addl $8, %edi
        cmpl $(TABLES + 0x3000), %edi
        jne 1b
        movl $TABLES, %eax
        movl %eax, %cr3
        movl %cr4, %eax
        orl $0x20, %eax                          # PAE
        movl %eax, %cr4
        movl $0xC0000080, %ecx                   # EFER.LME
        rdmsr
        orl $0x100, %eax
        wrmsr
        movl %cr0, %eax
        orl $0x80000001, %eax                    # paging and protection: long mode
        movl %eax, %cr0
        lgdt gdt_at
        ljmp $0x08, $long
        .code64
long:   movl $0x10, %eax
        movl %eax, %ds
        movl %eax, %ss
        movl %eax, %es
        movl $0xC0000080, %ecx
        rdmsr
        testl $0x400, %eax                       # EFER.LMA
        jz dead
        xorl %eax, %eax
        cpuid
        testl %eax, %eax
        jz dead
        movl $tick, %eax                         # vector 0x20 of the interrupt table
        movw %ax, IDT + 0x200
        shrl $16, %eax
        movw %ax, IDT + 0x206
        movw $0x08, IDT + 0x202
        movw $0x8E00, IDT + 0x204
        lidt idt_at
        movb $0x11, %al                          # both PICs to vectors 0x20 and 0x28, only the timer unmasked
        outb %al, $0x20
        outb %al, $0xA0
        movb $0x20, %al
        outb %al, $0x21
        movb $0x28, %al
        outb %al, $0xA1
        movb $0x04, %al
        outb %al, $0x21
        movb $0x02, %al
        outb %al, $0xA1
        movb $0x01, %al
        outb %al, $0x21
        outb %al, $0xA1
        movb $0xFF, %al
        outb %al, $0xA1
        movb $0xFE, %al
        outb %al, $0x21
        movb $0x34, %al                          # PIT: 100 interrupts a second
        outb %al, $0x43
        movb $0x9C, %al
        outb %al, $0x40
        movb $0x2E, %al
        outb %al, $0x40
        sti
2:      hlt
        cmpl $10, ticks
        jb 2b
        cli
        movq $0x40000000, %rax                   # new mappings, used at once, many times: 1 GiB up, page by page
        movq $(TABLES + 0x2003), %rbx
        movq %rbx, TABLES + 0x1008
        movl $1000, %ecx
3:      movl $0x100000, %edx
        movl (%rdx, %rax), %esi
        cmpl %esi, (%rdx)
        jne dead
        movq %cr3, %rdx
        movq %rdx, %cr3
        loop 3b
        leaq word(%rip), %rsi
4:      movw $0x3FD, %dx
5:      inb %dx, %al
        testb $0x20, %al
        jz 5b
        movw $0x3F8, %dx
        lodsb
        testb %al, %al
        jz dead
        outb %al, %dx
        jmp 4b
dead:   cli
        hlt
        jmp dead
tick:   pushq %rax
        incl ticks
        movb $0x20, %al
        outb %al, $0x20
        popq %rax
        iretq
        .balign 8
gdt:    .quad 0, 0x00AF9A000000FFFF, 0x00CF92000000FFFF
gdt_at: .word 23
        .long gdt
        .balign 8
idt_at: .word 0x20F
        .quad IDT
ticks:  .long 0
word:                                            # text and a zero are appended here
