from pdconsole.cli import main

main()
