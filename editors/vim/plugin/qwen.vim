" Suggestions in the text and edits by instruction, from `qwen code-fim --lsp`. Vim 9.0.0185 or later, with no
" other plug-in. Neovim has one of its own: ../nvim.
"
"   g:qwen_command    the server                    ['qwen', 'code-fim', '--lsp']
"   g:qwen_options    its initializationOptions     {'mode': 'auto'}
"   g:qwen_filetypes  where suggestions are made    [] (every type that has one)
"   g:qwen_delay      milliseconds of rest before   150
"   g:qwen_map_tab    Tab takes a suggestion        1
"
" :QwenEdit [instruction]        edits the lines of the range, the whole file without one
" :QwenToggle                    turns suggestions off and on
" <Plug>(qwen-accept)            takes the suggestion that is shown

if exists('g:loaded_qwen')
  finish
endif
let g:loaded_qwen = 1

if !has('job') || !has('channel') || !has('timers') || !has('textprop') || !has('patch-9.0.0185')
  command! -nargs=* -range QwenEdit echoerr 'qwen: Vim 9.0.0185 with +job, +channel and +textprop is needed'
  finish
endif

command! -nargs=* -range=0 QwenEdit call qwen#edit(<count> == 0 ? [] : [<line1>, <line2>], <q-args>)
command! -bar QwenToggle call qwen#toggle()

inoremap <silent><expr> <Plug>(qwen-accept) qwen#accept('')
if get(g:, 'qwen_map_tab', 1) && maparg('<Tab>', 'i') ==# ''
  inoremap <silent><expr> <Tab> qwen#accept("\<Tab>")
endif

highlight default link QwenSuggestion Comment

augroup qwen
  autocmd!
  autocmd InsertEnter,TextChangedI,CursorMovedI * call qwen#moved()
  autocmd InsertLeave,BufLeave * call qwen#clear()
  autocmd BufWritePost * call qwen#saved()
  autocmd BufUnload * call qwen#closed(str2nr(expand('<abuf>')))
  autocmd VimLeavePre * call qwen#stop()
augroup END
